"""Arguments in the forms people write them."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
import orjson


def labels_of(words: Iterable[str]) -> dict[str, str]:
    """Read `NAME=VALUE` words. Raises BadParameter."""
    labels = {}
    for word in words:
        name, separator, value = word.partition("=")
        if not separator or not name:
            raise click.BadParameter(f"{word!r} is not NAME=VALUE.", param_hint="--label")
        labels[name] = value
    return labels


def payload_of(text: str | None) -> dict[str, Any] | None:
    """Read a payload: JSON, `@FILE`, or `-` for standard input; None for none. Raises BadParameter."""
    if text is None:
        return None
    source = "the payload"
    data: str | bytes = text
    if text == "-":
        data, source = sys.stdin.buffer.read(), "standard input"
    elif text.startswith("@"):
        source = text[1:]
        try:
            data = Path(source).read_bytes()
        except OSError as error:
            raise click.BadParameter(f"cannot read {source}: {error.strerror}.", param_hint="--payload") from error
    try:
        payload = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise click.BadParameter(f"{source} is not JSON: {error}.", param_hint="--payload") from error
    if not isinstance(payload, dict):
        raise click.BadParameter(f"{source} must be a JSON object, such as {{}}.", param_hint="--payload")
    return payload
