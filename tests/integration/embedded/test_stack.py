"""The embedded servers, for real: started, stopped, killed, paused, orphaned."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import asyncpg
import psutil
import pytest
import pytest_asyncio
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from milepost.embedded import (
    EmbeddedError,
    PortInUse,
    Ports,
    ProcessError,
    ServerFailed,
    Stack,
    StackRunning,
    temporary_home,
)
from milepost.embedded.postgres import find_programs
from milepost.embedded.postgres_account import find_place, reachable

pytestmark = pytest.mark.stack

PARENT = """
import asyncio, sys
from pathlib import Path
from milepost.embedded import Stack

async def main():
    stack = Stack(Path(sys.argv[1]))
    await stack.start()
    servers = (*stack.kafka, stack.postgres, stack.redis)
    print("up", flush=True)
    try:
        await asyncio.Event().wait()
    finally:
        print(all(server.running for server in servers), flush=True)
        await stack.stop()
        print([server.process.returncode for server in servers], flush=True)

try:
    asyncio.run(main())
except KeyboardInterrupt:
    pass
"""


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """Give a directory that an account without rights can reach, which pytest's own is not."""
    with temporary_home("embedded") as directory:
        yield directory


@pytest_asyncio.fixture(scope="module")
async def stack(place: Path) -> AsyncIterator[Stack]:
    async with Stack(place / "shared") as running:
        yield running


def pid_files(home: Path) -> dict[str, int]:
    return {path.stem: int(path.read_text()) for path in (home / "run").glob("*.pid")}


async def redis(stack: Stack, command: str) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", stack.redis.port)
    try:
        writer.write(f"AUTH {stack.redis.password}\r\n{command}\r\n".encode())
        await reader.readline()
        return (await reader.readline()).decode().strip()
    finally:
        writer.close()


async def make_topic(stack: Stack, name: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=stack.kafka_bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, 1, stack.brokers)])
    finally:
        await admin.close()


async def produce(stack: Stack, topic: str, value: bytes) -> None:
    async with AIOKafkaProducer(bootstrap_servers=stack.kafka_bootstrap, acks="all") as producer:
        await producer.send_and_wait(topic, value)


async def read(stack: Stack, topic: str, count: int) -> list[bytes]:
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=stack.kafka_bootstrap, group_id="test", auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        return [(await consumer.getone()).value for _ in range(count)]
    finally:
        await consumer.stop()


async def test_each_server_answers_at_its_address_and_its_pid_file_names_it(stack: Stack) -> None:
    environment = stack.environment()
    connection = await asyncpg.connect(environment["MILEPOST_DATABASE_URL"])
    try:
        assert (await connection.fetchval("show server_version")).startswith("18")
        assert await connection.fetchval("show fsync") == "on"
        assert await connection.fetchval("select not usesuper from pg_user where usename = current_user")
    finally:
        await connection.close()
    assert environment["MILEPOST_REDIS_URL"] == stack.redis_url
    assert await redis(stack, "PING") == "+PONG"
    await make_topic(stack, "hello")
    await produce(stack, "hello", b"one")
    assert await read(stack, "hello", 1) == [b"one"]

    pids = pid_files(stack.home)
    assert pids == {"kafka-0": stack.kafka[0].pid, "postgres": stack.postgres.pid, "redis": stack.redis.pid}
    assert "kafka.Kafka" in psutil.Process(pids["kafka-0"]).cmdline()


async def test_nothing_listens_beyond_the_loopback(stack: Stack) -> None:
    for server in (*stack.kafka, stack.postgres, stack.redis):
        listening = [
            connection.laddr.ip.removeprefix("::ffff:")
            for connection in psutil.Process(server.pid).net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN
        ]
        assert set(listening) == {"127.0.0.1"}, server.name


async def test_passwords_are_readable_by_their_owner_only(stack: Stack) -> None:
    for kept in ("postgres.password", "redis.password", "redis/redis.conf"):
        assert (stack.home / kept).stat().st_mode & 0o777 == 0o600
    for server in (stack.postgres, stack.redis):
        assert server.password not in " ".join(psutil.Process(server.pid).cmdline())


async def test_a_second_stack_of_the_same_home_is_refused_with_the_pids(stack: Stack) -> None:
    with pytest.raises(StackRunning, match=str(stack.postgres.pid)) as refusal:
        await Stack(stack.home).start()
    assert refusal.value.pids == pid_files(stack.home)
    assert stack.postgres.running


async def test_killed_servers_start_again_with_their_ports_and_data(stack: Stack) -> None:
    await make_topic(stack, "killed")
    await produce(stack, "killed", b"before")
    connection = await asyncpg.connect(stack.database_url)
    await connection.execute("create table killed as select 42 as answer")
    before = (stack.postgres.pid, stack.environment())

    for server in (stack.kafka[0], stack.postgres):
        server.kill()
        assert await server.process.wait() == -signal.SIGKILL
        with pytest.raises(ProcessError, match="not running"):
            _ = server.pid
    with suppress(Exception):
        await connection.close(timeout=1)
    await asyncio.gather(stack.kafka[0].start(), stack.postgres.start())

    assert stack.postgres.pid != before[0]
    assert stack.environment() == before[1]
    assert pid_files(stack.home)["postgres"] == stack.postgres.pid
    connection = await asyncpg.connect(stack.database_url)
    try:
        assert await connection.fetchval("select answer from killed") == 42
    finally:
        await connection.close()
    assert await read(stack, "killed", 1) == [b"before"]


async def test_a_postmaster_killed_from_outside_starts_again(stack: Stack) -> None:
    os.kill(stack.postgres.pid, signal.SIGKILL)
    await stack.postgres.process.wait()
    await stack.postgres.start()


async def test_a_paused_server_answers_again_once_resumed(stack: Stack) -> None:
    stack.redis.pause()
    with pytest.raises(ServerFailed, match="not ready after 0 s"):
        await stack.redis.ready(timeout=0)
    stack.redis.resume()
    await stack.redis.ready()


async def test_a_paused_server_can_be_stopped_and_started(stack: Stack) -> None:
    connection = await asyncpg.connect(stack.database_url)
    stack.postgres.pause()
    await stack.postgres.stop()
    assert stack.postgres.process.returncode == 0
    await stack.postgres.start()
    with suppress(Exception):
        await connection.close(timeout=1)


async def test_a_stopped_stack_leaves_no_pid_file_and_starts_again_with_ports_and_data(place: Path) -> None:
    home = place / "again"
    (home / "run").mkdir(parents=True)
    # Stale pid files: of a process that is gone, and of one that is older than its process.
    gone = await asyncio.create_subprocess_exec("/bin/true")
    await gone.wait()
    (home / "run" / "redis.pid").write_text(f"{gone.pid}\n")
    (home / "run" / "postgres.pid").write_text(f"{os.getpid()}\n")
    os.utime(home / "run" / "postgres.pid", (1, 1))

    async with Stack(home) as first:
        await make_topic(first, "kept")
        await produce(first, "kept", b"kept")
        environment = first.environment()
    assert pid_files(home) == {}
    assert [broker.running for broker in first.kafka] == [False]

    lines: list[str] = []
    begun = time.monotonic()
    async with Stack(home, on_progress=lines.append) as second:
        assert time.monotonic() - begun < 20, "two or three seconds alone"
        assert second.environment() == environment
        assert await read(second, "kept", 1) == [b"kept"]
    assert sorted(line.split()[0] for line in lines) == ["kafka-0", "postgres", "redis"]


async def run_parent(home: Path) -> asyncio.subprocess.Process:
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PARENT, str(home)),
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert parent.stdout is not None
    assert await parent.stdout.readline() == b"up\n"
    return parent


async def test_servers_end_when_their_parent_is_killed_and_the_next_start_takes_over(place: Path) -> None:
    home = place / "orphaned"
    parent = await run_parent(home)
    servers = [psutil.Process(pid) for pid in pid_files(home).values()]
    assert len(servers) == 3

    parent.kill()
    await parent.communicate()
    async with Stack(home):
        assert [server for server in servers if server.is_running()] == []
        assert len(pid_files(home)) == 3


async def test_ctrl_c_reaches_us_first_and_the_servers_end_gracefully(place: Path) -> None:
    home = place / "orphaned"
    parent = await run_parent(home)
    os.killpg(parent.pid, signal.SIGINT)
    said, _ = await parent.communicate()
    assert said.decode().splitlines() == ["True", "[143, 0, 0]"]
    assert pid_files(home) == {}


async def test_a_start_that_is_given_up_while_the_data_is_made_leaves_nobody_at_work_on_it(place: Path) -> None:
    home = place / "given-up"
    starting = asyncio.create_task(Stack(home).start())

    def at_work() -> list[list[str]]:
        """Command lines of whoever works in the folder of the data."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.cwd() == str(home.resolve() / ".postgres.new"):
                    found.append(process.cmdline())
        return found

    # initdb lets servers of its own do the work; the one that runs scripts would end some time after it.
    while not any("--single" in command for command in at_work()):
        assert not starting.done()
        await asyncio.sleep(0.002)
    starting.cancel()
    with suppress(asyncio.CancelledError):
        await starting
    assert at_work() == []


async def test_one_of_three_brokers_may_die(place: Path) -> None:
    async with Stack(place / "three", brokers=3) as stack:
        await make_topic(stack, "survives")
        await produce(stack, "survives", b"before")
        stack.kafka[0].kill()
        await stack.kafka[0].process.wait()
        await produce(stack, "survives", b"after")
        assert await read(stack, "survives", 2) == [b"before", b"after"]
        await stack.kafka[0].start()


async def test_a_home_of_three_brokers_is_not_started_with_one(place: Path) -> None:
    home = place / "resized"
    home.mkdir()
    (home / "kafka-cluster.json").write_text(json.dumps({"id": "x", "brokers": 3}))
    with pytest.raises(EmbeddedError, match=r"data of 3 Kafka broker\(s\), and 1 were asked for"):
        await Stack(home).start()


async def test_a_server_that_dies_during_its_start_is_reported_at_once_with_its_log(place: Path) -> None:
    home = place / "damaged"
    account = find_place(home, find_programs()).account if os.geteuid() == 0 else None
    data = home / "postgres"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("9.1\n")
    (home / "postgres.password").write_text("secret\n")
    if account is not None:
        for path in (data, data / "PG_VERSION"):
            os.chown(path, account.uid, account.gid)
    data.chmod(0o700)

    stack = Stack(home)
    with pytest.raises(ServerFailed, match="postgres ended with status") as failure:
        await stack.start()
    assert str(home / "log" / "postgres.log") in str(failure.value)
    assert "  | " in str(failure.value)
    assert "What to do" in str(failure.value)
    assert pid_files(home) == {}
    assert not any(broker.running for broker in stack.kafka)


async def test_a_named_port_in_use_is_named(place: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortInUse, match=rf"port {port}, asked for redis, is in use by .*{os.getpid()}"):
            await Stack(place / "ports", ports=Ports(redis=port)).start()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs Postgres as another account")
async def test_under_a_directory_closed_to_its_account_postgres_lives_elsewhere(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    stack = Stack(closed / "home")
    stack._make_home()
    stack._make_servers()
    try:
        await stack.postgres.start()
        link = closed / "home" / "postgres"
        assert link.is_symlink()
        elsewhere = find_place(closed / "home", find_programs())
        assert elsewhere.account is not None
        assert reachable(link.readlink().parent, elsewhere.account)
        await stack.postgres.stop()
        await stack.postgres.start()
    finally:
        await stack.postgres.stop()
        shutil.rmtree((closed / "home" / "postgres").readlink().parent)
