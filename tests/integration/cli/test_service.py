"""A service of `milepost dev` as a child process."""

import asyncio
import shutil
from pathlib import Path
from typing import Any

from milepost.cli.dev.service import Service
from milepost.embedded import ManagedProcess
from tests.conftest import eventually


def sleeper(home: Path, kind: type[ManagedProcess] = ManagedProcess) -> ManagedProcess:
    return kind("worker-0", [shutil.which("sleep") or "sleep", "600"], None, home)


async def test_a_change_while_it_starts_anew_is_not_told_as_a_failure(tmp_path: Path) -> None:
    process = sleeper(tmp_path)
    serves, said = asyncio.Event(), list[str]()

    async def probe(_process: ManagedProcess) -> bool:
        return serves.is_set()

    async def replaced(pid: int) -> None:
        async def check() -> bool:
            return process.running and process.pid != pid

        await eventually(check, f"a process in place of {pid}")

    serves.set()
    service = Service(process, probe, said.append)
    await service.start()
    keeping = asyncio.create_task(service.keep())
    try:
        serves.clear()
        for _ in range(2):
            before = process.pid
            await service.reload()
            await replaced(before)
        serves.set()

        async def told() -> bool:
            return bool(said)

        await eventually(told, "something said")
    finally:
        await service.stop()
        await keeping
    assert len(said) == 1, said
    assert said[0].startswith("worker-0 is back")


class SlowToStart(ManagedProcess):
    """Takes as long to start as a test likes."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.starts = 0
        self.may_start = asyncio.Event()

    async def start(self) -> None:
        self.starts += 1
        await self.may_start.wait()
        await super().start()


async def test_one_that_is_just_being_started_again_is_stopped_too(tmp_path: Path) -> None:
    process = sleeper(tmp_path, SlowToStart)
    assert isinstance(process, SlowToStart)

    async def serves(_process: ManagedProcess) -> bool:
        return True

    process.may_start.set()
    service = Service(process, serves, lambda _: None)
    await service.start()
    keeping = asyncio.create_task(service.keep())
    try:
        process.may_start.clear()
        process.kill()

        async def starts_again() -> bool:
            return process.starts == 2

        await eventually(starts_again, "a second start")
        stopping = asyncio.create_task(service.stop())
        await asyncio.sleep(0)
        process.may_start.set()
        await stopping
        assert not process.running
        async with asyncio.timeout(10):
            await keeping
    finally:
        keeping.cancel()
        await process.stop()
