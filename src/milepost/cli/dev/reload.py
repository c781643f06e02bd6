"""Which files hold the code of the tasks, and whether one of them changed."""

import asyncio
import os
from collections.abc import Callable, Iterable
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Final

LOOK_EVERY_S: Final = 1.0
_SKIPPED: Final = frozenset({"__pycache__", "node_modules", "site-packages"})

Stamps = dict[str, tuple[int, int]]


def places_of(modules: Iterable[str], folder: Path) -> list[Path]:
    """Return the file or the directory of each module that is found from `folder`, without importing any.

    A module that is installed elsewhere is left out: what changes there is not being worked on.
    """
    places = []
    for name in modules:
        path: list[str] | None = [str(folder)]
        place: Path | None = None
        for part in name.split("."):
            spec = PathFinder.find_spec(part, path)
            if spec is None:
                place = None
                break
            path = list(spec.submodule_search_locations or [])
            place = Path(path[0]) if path else Path(spec.origin or "")
        if place is not None and place.exists():
            places.append(place)
    return places


def stamps_of(places: Iterable[Path]) -> Stamps:
    """Return time and size of every Python file in the places."""
    stamps: Stamps = {}
    for place in places:
        if place.is_file():
            _stamp(stamps, str(place))
            continue
        for root, folders, files in os.walk(place):
            folders[:] = [name for name in folders if name not in _SKIPPED and not name.startswith(".")]
            for name in files:
                if name.endswith(".py"):
                    _stamp(stamps, os.path.join(root, name))  # noqa: PTH118 - thousands of them each second
    return stamps


def changed(before: Stamps, after: Stamps) -> list[str]:
    """Return the files that were added, removed or written."""
    return sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))


async def on_change(places: Iterable[Path], then: Callable[[list[str]], object]) -> None:
    """Call `then` with the files that changed, once they are at rest; runs until cancelled."""
    watched = list(places)
    before = await asyncio.to_thread(stamps_of, watched)
    while True:
        await asyncio.sleep(LOOK_EVERY_S)
        after = await asyncio.to_thread(stamps_of, watched)
        if after == before:
            continue
        # An editor or a checkout may be in the middle of writing.
        while (settled := await asyncio.to_thread(_later, watched)) != after:
            after = settled
        files, before = changed(before, after), after
        if files:
            then(files)


def _later(places: list[Path]) -> Stamps:
    import time

    time.sleep(0.2)
    return stamps_of(places)


def _stamp(stamps: Stamps, path: str) -> None:
    try:
        status = os.stat(path)  # noqa: PTH116 - thousands of them each second
    except OSError:
        return
    stamps[path] = (status.st_mtime_ns, status.st_size)
