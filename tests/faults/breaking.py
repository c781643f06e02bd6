"""For each alert, how to bring about what it watches, and how to undo it."""

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import asyncpg
from aiokafka import AIOKafkaProducer
from websockets.asyncio.client import connect as connect_websocket
from websockets.typing import Subprotocol

from milepost.client import Client, Run
from milepost.errors import WrongState
from milepost.log import Topics
from milepost.log.connection import connection
from milepost_schemas.frames import SUBPROTOCOL
from tests.faults.broken import fires, meanwhile, submit
from tests.scene import Scene


async def _read(client: Client) -> None:
    async for _ in client.list(limit=1):
        return


@fires("MilepostProcessDown")
async def a_worker_killed(scene: Scene, _client: Client) -> AsyncIterator[None]:
    scene.system.workers[1].kill()
    yield
    await scene.system.workers[1].wait()
    await scene.system.workers[1].start()


@fires("MilepostServiceAbsent")
async def no_notifier(scene: Scene, _client: Client) -> AsyncIterator[None]:
    scene.system.notifiers[0].kill()
    yield
    await scene.system.notifiers[0].wait()
    await scene.system.notifiers[0].start()


@fires("MilepostDependencyDown")
async def redis_stopped(scene: Scene, _client: Client) -> AsyncIterator[None]:
    await scene.stack.redis.stop()
    yield
    await scene.stack.redis.start()


@fires("MilepostDependencyUnreachable")
async def a_worker_cut_off(scene: Scene, _client: Client) -> AsyncIterator[None]:
    await scene.lines[0].refuse()
    yield
    await scene.lines[0].listen()


@fires("MilepostPoolExhausted")
async def tasks_locked(scene: Scene, client: Client) -> AsyncIterator[None]:
    db = await asyncpg.connect(scene.direct.database_url.get_secret_value(), timeout=10)
    try:
        async with meanwhile(*[lambda: _read(client)] * 60), db.transaction():
            await db.execute("lock table milepost.tasks")
            yield
    finally:
        await db.close()


@fires("MilepostLoopSlow", env={"MILEPOST_CONCURRENCY": "1"})
async def handlers_that_hold_up_the_loop(_scene: Scene, client: Client) -> AsyncIterator[None]:
    async with meanwhile(lambda: submit(client, "test.blocking", {"seconds": 0.6}, times=3)):
        yield
    async for task in client.list(state="queued"):
        with suppress(WrongState):  # it has run meanwhile
            await client.cancel(task.id)


@fires("MilepostLoopBlocked")
async def a_handler_that_blocks(_scene: Scene, client: Client) -> AsyncIterator[None]:
    await submit(client, "test.blocking", {"seconds": 2.7})
    yield


@fires("MilepostQueueUnserved")
async def a_queue_of_nobody(_scene: Scene, client: Client) -> AsyncIterator[None]:
    run = await client.submit("demo.echo", {}, queue="nobody")
    yield
    await run.cancel()


@fires("MilepostQueueOld")
async def a_pause(_scene: Scene, client: Client) -> AsyncIterator[None]:
    await client.queues.pause("slow")
    async with meanwhile(lambda: submit(client, "demo.echo", {}, queue="slow")):  # workers learn of it within a second
        yield
    await client.queues.resume("slow")


@fires("MilepostDueStuck")
async def no_worker_and_something_due(scene: Scene, client: Client) -> AsyncIterator[None]:
    async with _no_workers(scene):
        await submit(client, "demo.echo", {}, delay=1)
        yield


@fires("MilepostLeasesOverdue", env={"MILEPOST_LEASE": "4", "MILEPOST_RENEW": "1"})
async def no_worker_and_something_under_way(scene: Scene, client: Client) -> AsyncIterator[None]:
    run = await client.submit("demo.count", {"to": 1000, "delay": 1})
    await scene.reaches(run.id, "running")
    async with _no_workers(scene):
        yield
    await run.cancel()


@asynccontextmanager
async def _no_workers(scene: Scene) -> AsyncIterator[None]:
    for worker in scene.system.workers:
        worker.kill()
    yield
    for worker in scene.system.workers:
        await worker.wait()
        await worker.start()


@fires("MilepostTasksFail")
async def tasks_that_fail(_scene: Scene, client: Client) -> AsyncIterator[None]:
    async with meanwhile(lambda: submit(client, "demo.fail", {"times": 9, "message": "no"}, max_attempts=1)):
        yield


@fires("MilepostLeasesLost", env={"MILEPOST_LEASE": "4", "MILEPOST_RENEW": "1"})
async def a_worker_that_stands_still(scene: Scene, client: Client) -> AsyncIterator[None]:
    runs = [await client.submit("demo.count", {"to": 1000, "delay": 1}) for _ in range(4)]
    for run in runs:
        await scene.reaches(run.id, "running")
    held = [worker for worker in scene.system.workers if await scene.held_by(worker)]
    tasks = await scene.held_by(held[0])
    held[0].pause()
    await scene.taken_back(tasks)
    held[0].resume()
    yield
    for run in runs:
        await run.cancel()


@fires("MilepostOutboxStuck")
async def kafka_stopped(scene: Scene, client: Client) -> AsyncIterator[None]:
    await scene.stack.kafka[0].stop()
    try:
        await submit(client, "demo.echo", {}, times=3)
        yield
    finally:
        await scene.stack.kafka[0].start()


@fires("MilepostRecordsSetAside")
async def garbage_on_a_topic(scene: Scene, _client: Client) -> AsyncIterator[None]:
    producer: Any = AIOKafkaProducer(**connection(scene.direct))
    await producer.start()
    try:
        async with meanwhile(lambda: producer.send_and_wait(Topics(scene.direct.topic_prefix).events, b"\xff{")):
            yield
    finally:
        await producer.stop()


@fires("MilepostEventsBehind", env={"MILEPOST_CONCURRENCY": "500"})
async def events_that_nobody_takes(scene: Scene, client: Client) -> AsyncIterator[None]:
    await scene.stack.redis.stop()
    try:
        for _ in range(12):
            await client.submit_batch([{"type": "demo.echo", "payload": {}}] * 1000)
        yield
    finally:
        await scene.stack.redis.start()


@fires("MilepostClientsRefused", env={"MILEPOST_MAX_CONNECTIONS": "1"})
async def more_clients_than_there_is_room_for(scene: Scene, _client: Client) -> AsyncIterator[None]:
    async def knock() -> None:
        async with connect_websocket(scene.system.streams[0], subprotocols=[Subprotocol(SUBPROTOCOL)]):
            pass

    async with meanwhile(knock, knock):
        yield


@fires("MilepostClientsDegraded")
async def clients_that_read_slowly(scene: Scene, client: Client) -> AsyncIterator[None]:
    runs = [await client.submit("test.pour", {}) for _ in range(6)]
    async with meanwhile(*[lambda: _reads_slowly(scene, runs)] * 12):
        yield
    for run in runs:
        await run.cancel()


async def _reads_slowly(scene: Scene, runs: Sequence[Run]) -> None:
    """Watch tasks that say much, two frames a second at most; a ping is answered before it is read."""
    host, port = scene.system.streams[0].split("/")[2].split(":")
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)  # noqa: FBT003 - the name of the parameter cannot be given
    await asyncio.get_running_loop().sock_connect(sock, (host, int(port)))
    protocols = [Subprotocol(SUBPROTOCOL)]
    async with connect_websocket(scene.system.streams[0], sock=sock, subprotocols=protocols, max_queue=1) as one:
        await one.send(f'{{"t":"hello","token":"{scene.system.key}"}}')
        for number, run in enumerate(runs, start=1):
            await one.send(f'{{"t":"sub","id":{number},"task":"{run.id}"}}')
        async for _ in one:
            # What this machine holds on its way to a client is more than it reads before the answer is due.
            await one.send('{"t":"pong"}')
            await asyncio.sleep(0.5)


_WEBHOOKS: Final = {
    "MILEPOST_WEBHOOK_HTTP": "true",
    "MILEPOST_WEBHOOK_PORTS": "*",
    "MILEPOST_WEBHOOK_NETWORKS": "127.0.0.1/32",
}


@fires("MilepostWebhooksBehind", env={**_WEBHOOKS, "MILEPOST_WEBHOOKS": "false"})
async def workers_that_send_nothing(_scene: Scene, client: Client) -> AsyncIterator[None]:
    hook = await client.webhooks.create("http://127.0.0.1:9/")
    await submit(client, "demo.echo", {})
    yield
    await client.webhooks.delete(hook.id)


@fires("MilepostWebhooksFail", env=_WEBHOOKS)
async def a_receiver_that_is_away(_scene: Scene, client: Client) -> AsyncIterator[None]:
    hooks = [await client.webhooks.create("http://127.0.0.1:9/") for _ in range(12)]
    await submit(client, "demo.echo", {}, times=2)
    yield
    for hook in hooks:
        await client.webhooks.delete(hook.id)
