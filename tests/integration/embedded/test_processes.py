"""Child processes under their guards."""

import asyncio
import os
import signal
from pathlib import Path

import psutil
import pytest

from milepost.embedded import ManagedProcess, ProcessError


async def test_a_child_that_ignores_the_stop_signal_is_killed_after_its_grace_time(tmp_path: Path) -> None:
    deaf = tmp_path / "deaf"
    os.mkfifo(deaf)
    # Reading the pipe waits until the child has come to ignore the signal.
    argv = ["/bin/sh", "-c", f"trap '' TERM; echo > {deaf}; sleep 60"]
    process = ManagedProcess("stubborn", argv, None, tmp_path, grace=0.2)
    await process.start()
    await asyncio.to_thread(deaf.read_text)
    await process.stop()
    assert process.returncode == -signal.SIGKILL


async def test_a_childs_own_end_is_noticed_with_its_status_and_last_words(tmp_path: Path) -> None:
    process = ManagedProcess("brief", ["/bin/sh", "-c", "echo $WORD; exit 7"], {"WORD": "bye"}, tmp_path)
    await process.start()
    assert await process.wait() == 7
    assert process.returncode == 7
    assert process.log_tail() == ["bye"]
    assert not process.pid_path.exists()


async def test_a_child_does_not_outlive_its_guard(tmp_path: Path) -> None:
    process = ManagedProcess("guarded", ["/bin/sleep", "60"], None, tmp_path)
    await process.start()
    child = psutil.Process(process.pid)
    guard = child.parent()
    assert guard is not None
    guard.kill()
    assert await process.wait() == -signal.SIGKILL
    assert await asyncio.to_thread(psutil.wait_procs, [child], 5)
    assert not process.pid_path.exists()


async def test_a_command_that_does_not_exist_is_named(tmp_path: Path) -> None:
    process = ManagedProcess("absent", ["/nowhere/program"], None, tmp_path)
    with pytest.raises(ProcessError, match="/nowhere/program"):
        await process.start()
    assert not process.running
