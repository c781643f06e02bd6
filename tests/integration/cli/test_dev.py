"""`milepost dev` and `demo` as people start them."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from milepost.client import Client
from milepost.client.address import running_environment
from milepost.embedded import temporary_home
from milepost.embedded.ports import allocate
from tests.conftest import eventually
from tests.scraping import scraped

pytestmark = pytest.mark.stack

TASKS = """
from milepost import Context, task

@task("mine.version")
async def version(ctx: Context) -> int:
    return 1
"""


@pytest.fixture
def home() -> Iterator[Path]:
    """Give a home that Postgres' own account can reach, in a folder with task code."""
    with temporary_home("dev") as folder:
        (folder / "mine.py").write_text(TASKS)
        yield folder / ".milepost"


@pytest.fixture
def base(home: Path) -> int:
    return allocate(["base"], {}, home.parent / "test-ports.json")["base"]


def variables() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("MILEPOST_")}


@asynccontextmanager
async def started(home: Path, *argv: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run `milepost …` in the folder of the home until the block ends."""
    output = (home.parent / "output").open("ab")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "milepost.cli", *argv),
        stdout=output,
        stderr=output,
        env=variables(),
        cwd=home.parent,
    )
    output.close()
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
        await process.wait()


def pid_of(home: Path, name: str) -> int:
    return int((home / "run" / f"{name}.pid").read_text())


def output(home: Path) -> str:
    return (home.parent / "output").read_text()


async def test_dev_serves_restarts_reloads_and_leaves_nothing_behind(home: Path, base: int) -> None:
    async def says(pattern: str) -> None:
        async def check() -> bool:
            return re.search(pattern, output(home)) is not None

        await eventually(check, f"{pattern!r} in:\n{output(home)}", 60)

    async with started(home, "dev", "--port-base", str(base), "--tasks", "mine") as dev:
        await says("Serving")
        names = ["api", "worker-0", "notifier-0", "kafka-0", "postgres", "redis"]
        processes = [psutil.Process(pid_of(home, name)) for name in names]
        environment = running_environment(home)
        assert environment["MILEPOST_API_PORT"] == str(base)

        pages = json.loads((home / "run" / "metrics.json").read_text())
        assert {page["labels"]["job"] for page in pages} == {"api", "worker", "notifier"}
        for page in pages:
            (target,) = page["targets"]
            shown = await scraped(f"http://{target}")
            assert shown.sum("milepost_build_info", service=page["labels"]["job"]) == 1

        second = [sys.executable, "-m", "milepost.cli", "dev", "--port-base", str(base)]
        refused = await asyncio.to_thread(
            subprocess.run, second, cwd=home.parent, env=variables(), capture_output=True, text=True
        )
        assert refused.returncode == 1
        assert "already running" in refused.stderr

        os.kill(pid_of(home, "worker-0"), signal.SIGKILL)
        await says("worker-0 was ended by SIGKILL; it starts again")
        await says("worker-0 is back")
        async with Client(environment["MILEPOST_URL"], environment["MILEPOST_API_KEY"]) as client:
            assert await (await client.submit("mine.version")).result(timeout=30) == 1
            (home.parent / "mine.py").write_text(TASKS.replace("return 1", "return 22"))
            await says(r"mine\.py changed")
            await says("(?s)is back.*is back")
            assert await (await client.submit("mine.version")).result(timeout=30) == 22

        dev.send_signal(signal.SIGINT)
        assert await dev.wait() == 0
    assert "everything has stopped" in output(home)
    assert list((home / "run").glob("*.pid")) == []
    assert not (home / "run" / "env").exists()
    assert not any(process.is_running() for process in processes)


async def test_ctrl_c_during_the_start_stops_what_was_started(home: Path, base: int) -> None:
    async with started(home, "dev", "--port-base", str(base)) as dev:

        async def up() -> bool:
            return (home / "run" / "kafka-0.pid").exists()

        await eventually(up, "a Kafka that starts", 60)
        dev.send_signal(signal.SIGINT)
        assert await dev.wait() == 130
    assert list((home / "run").glob("*.pid")) == []


async def test_a_second_ctrl_c_hurries(home: Path, base: int) -> None:
    async with started(home, "dev", "--port-base", str(base)) as dev:

        async def up() -> bool:
            return (home / "run" / "env").exists()

        await eventually(up, "a stand", 60)
        os.kill(pid_of(home, "api"), signal.SIGSTOP)
        dev.send_signal(signal.SIGINT)

        async def asked() -> bool:
            return "stopping everything" in output(home)

        await eventually(asked, "the first Ctrl-C to be heard")
        dev.send_signal(signal.SIGINT)
        async with asyncio.timeout(5):
            await dev.wait()
    assert list((home / "run").glob("*.pid")) == []


async def test_a_worker_that_cannot_start_ends_dev_with_its_log(home: Path, base: int) -> None:
    code = "import sys\nif 'milepost_worker' in sys.modules:\n    raise RuntimeError('only in a worker')\n"
    (home.parent / "mine.py").write_text(code)
    async with started(home, "dev", "--port-base", str(base), "--tasks", "mine") as dev:
        assert await dev.wait() == 1
    assert "RuntimeError: only in a worker" in output(home)
    assert list((home / "run").glob("*.pid")) == []


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (None, "There is no module 'mine'"),
        ("import no_such_library\n", "There is no module 'no_such_library', needed for tasks from 'mine'"),
        ("def broken(:\n", 'mine.py", line 1'),
        ("import sys\nprint('about to end')\nsys.exit(3)\n", "SystemExit: 3"),
        ("import os\nprint('about to end', flush=True)\nos._exit(3)\n", "status 3. It printed:\nabout to end"),
    ],
)
async def test_tasks_that_cannot_be_loaded_are_reported_before_anything_is_started(
    home: Path, base: int, code: str | None, said: str
) -> None:
    (home.parent / "mine.py").unlink() if code is None else (home.parent / "mine.py").write_text(code)
    async with started(home, "dev", "--port-base", str(base), "--tasks", "mine") as dev:
        assert await dev.wait() == 2
    assert said in output(home)
    assert "Nothing was started" in output(home)
    assert "Starting Kafka" not in output(home)
    assert not (home / "log").exists()


async def test_demo_analyses_this_checkout_and_ends_with_0(home: Path, base: int) -> None:
    root = Path(__file__).parents[3]
    argv = [sys.executable, "-m", "milepost.cli", "demo", "--port-base", str(base)]
    done = await asyncio.to_thread(
        subprocess.run,
        argv,
        cwd=root,
        env=variables() | {"MILEPOST_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "repository.analyse" in done.stdout
    assert "succeeded" in done.stdout
    assert "pytest" in done.stdout
