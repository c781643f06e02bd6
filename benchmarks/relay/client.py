"""The load client (`load/`, Go), built and told what to do."""

import asyncio
import json
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from milepost.errors import MilepostError

SOURCE = Path(__file__).with_name("load")
PATIENCE_S = 240.0


class LoadFailed(MilepostError):
    """The load client could not be built, ended, or did not answer."""


def build(folder: Path) -> Path:
    """Compile the load client into `folder`. Raises LoadFailed."""
    go = shutil.which("go")
    if go is None:
        raise LoadFailed(
            "The load client is written in Go, and there is no `go` here. Install Go 1.21 or newer (https://go.dev/dl, "
            "or apt install golang-go), and run this again. Nothing was started."
        )
    program = folder / "relay-load"
    built = subprocess.run([go, "build", "-o", str(program), "."], cwd=SOURCE, capture_output=True, text=True)  # noqa: PLW1510
    if built.returncode:
        raise LoadFailed(f"The load client does not compile:\n{built.stderr}")
    return program


@dataclass(frozen=True, slots=True)
class Line:
    """How clients reach a relay. `dialect` is milepost or plain, see load/main.go."""

    address: str
    path: str
    dialect: str
    token: str = ""


class Client:
    """One load client with its connections; use as an async context manager. Connection n watches the n-th task."""

    def __init__(self, program: Path, line: Line, tasks: Sequence[object]) -> None:
        self._file = tempfile.NamedTemporaryFile("w", suffix=".tasks")  # noqa: SIM115 - closed with the client
        self._file.write("\n".join(map(str, tasks)))
        self._file.flush()
        self._argv = [
            str(program), "-address", line.address, "-path", line.path, "-dialect", line.dialect,
            "-token", line.token, "-tasks", self._file.name,
        ]  # fmt: skip
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(*self._argv, stdin=pipe, stdout=pipe)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None  # noqa: S101 - entered
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        self._file.close()

    async def ask(self, *words: object) -> dict[str, Any]:
        """Give a command (see load/client.go) and return the answer. Raises LoadFailed."""
        try:
            return await self._ask(*words)
        except TimeoutError:
            seen = await self._ask("report")
            raise LoadFailed(
                f"`{words[0]}` took the load client longer than {PATIENCE_S:g} s. It has seen: {seen}"
            ) from None

    async def _ask(self, *words: object) -> dict[str, Any]:
        assert self._process is not None  # noqa: S101 - entered
        assert self._process.stdin is not None  # noqa: S101 - piped
        assert self._process.stdout is not None  # noqa: S101 - piped
        self._process.stdin.write((" ".join(map(str, words)) + "\n").encode())
        async with asyncio.timeout(PATIENCE_S):
            answer = await self._process.stdout.readline()
        if not answer:
            raise LoadFailed("The load client ended; what it said is above.")
        parsed: dict[str, Any] = json.loads(answer)
        return parsed

    async def until_ended(self, count: int, within_s: float) -> dict[str, Any]:
        """Return the report once `count` connections were told the end, or the last one when time is up."""
        deadline = asyncio.get_running_loop().time() + within_s
        while True:
            report = await self.ask("report")
            if report["ended"] >= count or asyncio.get_running_loop().time() > deadline:
                return report
            await asyncio.sleep(0.2)
