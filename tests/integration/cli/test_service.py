"""A service of `milepost dev` as a child process."""

import asyncio
import shutil
from pathlib import Path

from milepost.cli.dev.service import Service
from milepost.embedded import ManagedProcess
from tests.conftest import eventually


async def test_a_change_while_it_starts_anew_is_not_told_as_a_failure(tmp_path: Path) -> None:
    process = ManagedProcess("worker-0", [shutil.which("sleep") or "sleep", "600"], None, tmp_path)
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
