"""Whole systems side by side, one for each variant: `milepost dev` of this checkout or of another one."""

import asyncio
import os
import shlex
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from milepost.cli.bench.scenarios import Target
from milepost.cli.dev.command import free_base
from milepost.client.address import ENVIRONMENT_FILE
from milepost.errors import MilepostError

HERE: Final = Path(sys.executable).with_name("milepost")
_READY_S: Final = 120.0
_ENDED_S: Final = 60.0


@asynccontextmanager
async def receiving() -> AsyncIterator[str]:
    """Give the address of a receiver of spans."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "benchmarks.tracing.receiver",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None and process.stdout is not None  # noqa: S101, PT018 - they are pipes
    try:
        yield f"http://127.0.0.1:{int(await process.stdout.readline())}"
    finally:
        process.stdin.close()
        await process.wait()


@asynccontextmanager
async def system(milepost: Path, home: Path, variables: Mapping[str, str]) -> AsyncIterator[Target]:
    """Give a running system whose home is that empty folder. Raises MilepostError if it does not come up."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "MILEPOST_"))}
    environment |= {"MILEPOST_HOME": str(home), **variables}
    process = await asyncio.create_subprocess_exec(
        *(str(milepost), "dev", "--port-base", str(free_base())),
        cwd=home,  # no examples, no code that is looked at for changes
        env=environment,
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        yield await _ready(process, milepost, home)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(_ENDED_S):
            await process.wait()


def dropping(target: Target) -> list[str]:
    """Return the names of the logs which say that spans were dropped."""
    logs = target.run.with_name("log").glob("*.log")
    return sorted(path.stem for path in logs if "spans were dropped" in path.read_text(errors="replace"))


async def _ready(process: asyncio.subprocess.Process, milepost: Path, home: Path) -> Target:
    environment = home / ENVIRONMENT_FILE
    ended = asyncio.create_task(process.wait())
    try:
        async with asyncio.timeout(_READY_S):
            while not ended.done() and not environment.exists():
                await asyncio.wait((ended,), timeout=0.1)
    finally:
        ended.cancel()
    if process.returncode is not None:
        raise MilepostError(f"{milepost} dev did not start a system; above is why.")
    told = dict(part.partition("=")[::2] for part in shlex.split(environment.read_text(), comments=True))
    return Target(
        told["MILEPOST_URL"],
        told["MILEPOST_STREAM_URL"],
        told["MILEPOST_API_KEY"],
        told["MILEPOST_DATABASE_URL"],
        home / "run",
    )
