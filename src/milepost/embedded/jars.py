"""The jars of Kafka: found in the cache, in a directory the person names, or fetched once from Maven."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

from milepost.embedded.errors import DownloadFailed, EmbeddedError, NoSpace, Unsupported

KAFKA_VERSION = "4.3.1"
# Kafka 4.3 speaks slf4j 1.7; a binding of slf4j 2 would be ignored and no log written.
COORDINATES = (f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}", "org.slf4j:slf4j-simple:1.7.36")
JARS_VARIABLE = "MILEPOST_KAFKA_JARS"
ROOM = 300 * 1024 * 1024

Say = Callable[[str], None]


def cache_root() -> Path:
    """Return the directory for what may be fetched or made again: `~/.cache/milepost`."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "milepost"


async def ensure_jars(say: Say) -> list[Path]:
    """Return Kafka's class path, fetching it the first time; `say` is told of the progress.

    Raises DownloadFailed, NoSpace, or EmbeddedError if MILEPOST_KAFKA_JARS holds no Kafka.
    """
    named = os.environ.get(JARS_VARIABLE)
    if named:
        return _jars_in(Path(named))
    home = cache_root() / f"kafka-{KAFKA_VERSION}"
    known = _recall(home)
    if known is not None:
        return known
    cancelled = threading.Event()
    try:
        await asyncio.to_thread(_fetch_into, home, say, cancelled)
    finally:
        cancelled.set()
    fetched = _recall(home)
    if fetched is None:
        raise DownloadFailed(COORDINATES, "the cache is incomplete after the download", home)
    return fetched


def _jars_in(directory: Path) -> list[Path]:
    jars = sorted(directory.glob("*.jar"))
    if not any(jar.name.startswith("kafka_2.13-") for jar in jars):
        raise EmbeddedError(
            f"{JARS_VARIABLE} is {directory}, which holds no kafka_2.13-….jar. "
            "Point it at the libs directory of an unpacked Kafka 4.3 release, or unset it."
        )
    return jars


def _recall(home: Path) -> list[Path] | None:
    """Return the class path noted at the end of the download, None if any of it is missing.

    A line of the note is "SIZE PATH", the path relative to the cache.
    """
    jars: list[Path] = []
    try:
        for line in (home / "classpath").read_text(encoding="utf-8").splitlines():
            size, _, name = line.partition(" ")
            jar = home / name
            if jar.stat().st_size != int(size):
                return None
            jars.append(jar)
    except (OSError, ValueError):
        return None
    return jars or None


def _fetch_into(home: Path, say: Say, cancelled: threading.Event) -> None:
    """Fetch to a directory beside `home` and rename it, so that `home` is whole or absent."""
    # jgo, requests and rich take most of a second to import: only here.
    from milepost.embedded.download import fetch

    if os.pathsep in str(home) or "," in str(home):
        raise Unsupported(
            f"the cache {home} has a colon or comma in its path, which Java cannot take. Set "
            "XDG_CACHE_HOME to another directory."
        )
    scratch = home.with_name(f".{home.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        home.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(home.parent).free
        if free < ROOM:
            raise NoSpace(home.parent, free, ROOM)
        _discard_abandoned(home)
        scratch.mkdir()
        jars = fetch(COORDINATES, scratch, say, cancelled)
        note = "".join(f"{jar.stat().st_size} {jar.relative_to(scratch).as_posix()}\n" for jar in jars)
        (scratch / "classpath").write_text(note, encoding="utf-8")
        _publish(scratch, home)
    except EmbeddedError:
        raise
    except Exception as error:
        raise DownloadFailed(COORDINATES, error, home) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _publish(scratch: Path, home: Path) -> None:
    """Make the finished download the cache, unless another process was first."""
    if home.exists() and _recall(home) is None:
        shutil.rmtree(home)
    try:
        scratch.rename(home)
    except OSError:
        if _recall(home) is None:
            raise


def _discard_abandoned(home: Path) -> None:
    """Remove what downloads that were killed have left behind."""
    import psutil

    for left in home.parent.glob(f".{home.name}.*"):
        with contextlib.suppress(ValueError):
            if not psutil.pid_exists(int(left.name.split(".")[-2])):
                shutil.rmtree(left, ignore_errors=True)
