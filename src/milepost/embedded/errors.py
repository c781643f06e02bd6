"""Everything that can go wrong with the embedded servers; every message says what to do about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path


class EmbeddedError(Exception):
    """Base class of all errors of `milepost.embedded`."""


class Unsupported(EmbeddedError):
    """This machine cannot run the embedded servers: platform, missing wheel or a path they cannot take."""


class NoSpace(EmbeddedError):
    """The disk has too little room to start servers on it."""

    def __init__(self, where: Path, free: int, needed: int) -> None:
        mib = 1024 * 1024
        super().__init__(
            f"{where} has {free // mib} MiB free and at least {needed // mib} MiB are needed. "
            "Make room, or point MILEPOST_HOME (or XDG_CACHE_HOME, for Kafka's jars) at another disk."
        )


class DownloadFailed(EmbeddedError):
    """Kafka's jars could not be fetched."""

    def __init__(self, coordinates: Sequence[str], reason: BaseException | str, cache: Path) -> None:
        why = reason if isinstance(reason, str) else f"{type(reason).__name__}: {reason}"
        super().__init__(
            f"could not fetch {' and '.join(coordinates)} into {cache}: {why}\n"
            "What to do: try again (nothing half-done was kept); behind a proxy set HTTPS_PROXY; "
            "for a Maven mirror set MILEPOST_MAVEN_REPOSITORY=https://… or a [repositories] entry in "
            "~/.config/jgo.conf; without any network set MILEPOST_KAFKA_JARS to a directory that holds the "
            "jars of a Kafka 4.3 release (its libs/)."
        )


class PortInUse(EmbeddedError):
    """A port asked for by name is taken."""

    def __init__(self, name: str, port: int, owner: str | None) -> None:
        self.name = name
        self.port = port
        self.owner = owner
        by = f" by {owner}" if owner else ""
        super().__init__(
            f"port {port}, asked for {name}, is in use{by}. Stop what listens there, name another port, "
            "or name none and let a free one be found."
        )


class StackRunning(EmbeddedError):
    """Another process runs the servers of the same home.

    `pids` maps the names of its servers to their process ids.
    """

    def __init__(self, home: Path, pids: Mapping[str, int]) -> None:
        self.pids = dict(pids)
        named = ", ".join(f"{name} (pid {pid})" for name, pid in sorted(self.pids.items()))
        super().__init__(
            f"the servers of {home} are already running: {named or 'another process is starting them'}. "
            "Use them, stop the process that started them (Ctrl-C there ends all of them), "
            "or set MILEPOST_HOME to another directory for a second stack."
        )


class ProcessError(EmbeddedError):
    """A child process could not be started, or is not in the state the call needs."""


class ServerFailed(EmbeddedError):
    """A server did not become ready.

    The message carries the last lines of its log, `log_path` names the file.
    """

    def __init__(self, name: str, reason: str, log_path: Path, tail: Sequence[str], advice: str) -> None:
        self.log_path = log_path
        shown = "\n".join(f"  | {line}" for line in tail) or "  | (it wrote nothing)"
        super().__init__(f"{name} {reason}. The end of {log_path}:\n{shown}\nWhat to do: {advice}")
