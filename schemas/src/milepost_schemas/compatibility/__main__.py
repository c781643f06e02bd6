"""Say what published contracts break: `python -m milepost_schemas.compatibility RELEASED PUBLISHED`."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from milepost_schemas.__main__ import ASKED, ASYNCAPI
from milepost_schemas.compatibility.documents import asyncapi_breaks, openapi_breaks, schema_breaks

OPENAPI: Final = "openapi.json"
_BETWEEN_OURS: Final = {"dispatch", "event", "completion", "cancel-request"}
"""Read by Milepost too, of the version before or after: a deployment runs two at once."""


def breaks(released: Path, published: Path) -> Iterator[str]:
    """Yield a line for all that breaks between two folders."""
    for old in sorted(released.iterdir()):
        new = published / old.name
        if not new.exists():
            yield f"{old.name}: is gone"
            continue
        before, after = _read(old), _read(new)
        if old.name == OPENAPI:
            found = openapi_breaks(before, after)
        elif old.name == ASYNCAPI:
            found = asyncapi_breaks(before, after)
        else:
            found = schema_breaks(before, after, *_directions(old.name.removesuffix(".v1.json")))
        yield from (f"{old.name}: {line}" for line in found)


def _directions(name: str) -> tuple[str, ...]:
    if name in _BETWEEN_OURS:
        return "asked", "given"
    return ("asked",) if name in ASKED else ("given",)


def _read(file: Path) -> Any:
    return json.loads(file.read_text()) if file.suffix == ".json" else yaml.safe_load(file.read_text())


def main() -> None:
    """Print what breaks; exit with 1 if anything does."""
    released, published = Path(sys.argv[1]), Path(sys.argv[2])
    if found := list(breaks(released, published)):
        sys.exit(
            "These would break clients of what was released:\n  " + "\n  ".join(found) + "\nAdd beside it instead, "
            "under another name or version (docs/decisions/0023-what-breaks-a-contract.md)."
        )


if __name__ == "__main__":
    main()
