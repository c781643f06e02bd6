"""Which port each server listens on: named, remembered from last time, or found free."""

from __future__ import annotations

import contextlib
import json
import random
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from milepost.embedded.errors import EmbeddedError, PortInUse

LOOPBACK = "127.0.0.1"
# Below the range the kernel takes client ports from (32768 on Linux, 49152 elsewhere). A port in that range
# may be lent to some client while a server is down, even to one that is trying to reconnect to it: TCP
# lets a socket connect to itself, and the server can then never bind its port again.
SERVER_PORTS = range(20000, 32000)
TRIES = 200


@dataclass(frozen=True)
class Ports:
    """Ports asked for by name; None leaves the choice to us. Broker N listens on `kafka` + N.

    `kafka_advertised` (+ N) is where brokers tell clients to find them, for a proxy between; None: where they listen.
    """

    kafka: int | None = None
    postgres: int | None = None
    redis: int | None = None
    kafka_advertised: int | None = None

    def named(self, brokers: int) -> dict[str, int]:
        """Return the ports that were asked for, by the name of their server."""
        chosen: dict[str, int] = {}
        if self.kafka is not None:
            chosen.update({f"kafka-{index}": self.kafka + index for index in range(brokers)})
        if self.postgres is not None:
            chosen["postgres"] = self.postgres
        if self.redis is not None:
            chosen["redis"] = self.redis
        return chosen


def allocate(wanted: Iterable[str], named: Mapping[str, int], memory: Path) -> dict[str, int]:
    """Choose a port for each name and remember the choice in the file `memory`.

    Raises PortInUse for a named port that is taken. A remembered one that is taken is replaced.
    """
    remembered = _recall(memory)
    chosen: dict[str, int] = {}
    with contextlib.ExitStack() as held:
        # Ports stay bound until all are chosen, so that no two names get the same.
        for name, port in named.items():
            if not _hold(port, held):
                raise PortInUse(name, port, _owner(port))
            chosen[name] = port
        for name in wanted:
            if name in chosen:
                continue
            before = remembered.get(name)
            chosen[name] = before if before is not None and _hold(before, held) else _find_free(held)
    memory.parent.mkdir(parents=True, exist_ok=True)
    memory.write_text(json.dumps(remembered | chosen, indent=2, sort_keys=True) + "\n", encoding="ascii")
    return chosen


def _recall(memory: Path) -> dict[str, int]:
    with contextlib.suppress(OSError, ValueError):
        read = json.loads(memory.read_text(encoding="ascii"))
        if isinstance(read, dict):
            return {str(name): port for name, port in read.items() if isinstance(port, int)}
    return {}


def _hold(port: int, held: contextlib.ExitStack) -> bool:
    """Bind the port until `held` closes; False if somebody else has it."""
    candidate = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    # As the servers do: connections of the last run that linger in TIME_WAIT are no obstacle.
    candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        candidate.bind((LOOPBACK, port))
        candidate.listen(1)
    except (OSError, OverflowError):
        candidate.close()
        return False
    held.enter_context(candidate)
    return True


def is_free(port: int) -> bool:
    """Whether nobody listens on a port now."""
    with contextlib.ExitStack() as held:
        return _hold(port, held)


def _find_free(held: contextlib.ExitStack) -> int:
    for port in random.sample(SERVER_PORTS, TRIES):
        if _hold(port, held):
            return port
    raise EmbeddedError(
        f"no free port found between {SERVER_PORTS.start} and {SERVER_PORTS.stop} on {LOOPBACK}. "
        "Stop some servers, or name the ports to use."
    )


def _owner(port: int) -> str | None:
    """Return a description of who listens on a port, None if the system will not tell."""
    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            listening = connection.status == psutil.CONN_LISTEN and connection.laddr
            if listening and listening.port == port and connection.pid:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
    return None
