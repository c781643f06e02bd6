"""Secrets from files: MILEPOST_X_FILE names a file that holds the value of the secret setting MILEPOST_X."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, get_args

from pydantic import SecretStr
from pydantic.fields import FieldInfo

SUFFIX: Final = "_FILE"
BYTES_MOST: Final = 65_536
"""A larger file is no secret: somebody named the wrong one."""


def secret_names(fields: Mapping[str, FieldInfo]) -> list[str]:
    """Return the names of settings that are secrets."""
    return [name for name, field in fields.items() if _holds_secret(field.annotation)]


def read_secrets(
    names: Iterable[str], given: Mapping[str, str | None], prefix: str
) -> tuple[dict[str, str], list[str]]:
    """Return the values of secrets whose files are named in `given`, and a row for each that cannot be had.

    Line ends at the end of a file are no part of the secret. Rows say names and paths, never what is in a file.
    """
    found, rows = {}, []
    for name in names:
        variable = prefix + name.upper()
        path = given.get(variable + SUFFIX)
        if not path:
            continue
        if given.get(variable):
            rows.append(f"  {variable}{SUFFIX}: {variable} is given too; say one of the two")
            continue
        try:
            found[name] = _content(Path(path))
        except ValueError as error:
            rows.append(f"  {variable}{SUFFIX}: {path} {error}")
    return found, rows


def _content(path: Path) -> str:
    """Return what is in a file. Raises ValueError that says what is wrong with it."""
    try:
        with path.open("rb") as file:
            content = file.read(BYTES_MOST + 1)
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
    if len(content) > BYTES_MOST:
        raise ValueError("is too large to be a secret")
    try:
        text = content.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise ValueError("is not text in UTF-8") from None
    if not text:
        raise ValueError("is empty")
    return text


def _holds_secret(annotation: Any) -> bool:
    return annotation is SecretStr or any(map(_holds_secret, get_args(annotation)))
