"""Redis and notifiers: whatever dies, each watcher sees each end, and no gap it was not told of."""

import asyncio
from pathlib import Path

import aiohttp
import orjson
import pytest

from milepost.embedded import Stack
from milepost.embedded.server import Server
from milepost.live import connect
from milepost_schemas.frames import SUBPROTOCOL
from tests.conftest import eventually
from tests.faults.conftest import Stage
from tests.faults.fault import Fault, by_fault, cut, killed, stopped, survived
from tests.faults.loads import short
from tests.scene import Scene
from tests.traffic import Watcher

pytestmark = [pytest.mark.stack, pytest.mark.faults, pytest.mark.timeout(300)]


def _redis(stack: Stack) -> Server:
    return stack.redis


async def _redis_flushed(scene: Scene) -> None:
    redis = connect(scene.direct)
    try:
        for _ in range(3):
            await redis.flushall()
            await scene.accepts(10)
    finally:
        await redis.aclose()


async def _redis_stalled(scene: Scene) -> None:
    scene.wires.redis.stall()
    await scene.accepts(40)
    scene.wires.redis.flow()


async def _notifier_killed(scene: Scene) -> None:
    for notifier in scene.system.notifiers:
        notifier.kill()
        await notifier.wait()
        await scene.accepts(10)
        await notifier.start()


async def _notifier_paused(scene: Scene) -> None:
    notifier = scene.system.notifiers[0]
    notifier.pause()
    await scene.accepts(60)
    notifier.resume()


@by_fault(
    short=[("redis flushed", _redis_flushed)],
    long=[
        ("redis killed", killed(_redis)),
        ("redis stopped", stopped(_redis, meanwhile=40)),
        ("redis stalled", _redis_stalled),
        ("redis cut", cut(lambda scene: [scene.wires.redis])),
        ("notifier killed", _notifier_killed),
        ("notifier paused", _notifier_paused),
    ],
)
async def test_each_watcher_sees_each_end(stage: Stage, fault: Fault) -> None:
    async with stage(watchers=4, notifiers=2) as scene:
        await survived(scene, fault, 20, short, accepted=40)


@pytest.mark.parametrize("clients", [40, pytest.param(1000, marks=pytest.mark.long)])
async def test_a_notifier_is_killed_with_many_clients_attached(stage: Stage, clients: int, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    async with stage(watchers=clients, notifiers=2, env={"MILEPOST_CONCURRENCY": "50"}) as scene:
        tasks = [
            await scene.submit({"type": "test.gate", "payload": {"path": str(gate), "steps": 4}}, watched=False)
            for _ in range(10)
        ]
        for number, watcher in enumerate(scene.watchers):
            watcher.watch(tasks[number % len(tasks)])
        await eventually(lambda: _all_told(scene), "every client to be told of a start", 90)
        first = scene.system.notifiers[0]
        first.kill()
        gate.touch()
        await first.wait()
        await first.start()
        await scene.passes(90)
        assert sum(watcher.connects for watcher in scene.watchers) >= clients * 1.4, "half of them had to come back"


async def _all_told(scene: Scene) -> bool:
    return all(any(frame.state == "running" for frame in watch.frames) for watch in scene.record.watches)


class _Slow(Watcher):
    """A client that says hello, asks for much and reads nothing for a while."""

    reads = asyncio.Event()

    async def _session_with(self, url: str) -> None:
        if self.reads.is_set():
            await super()._session_with(url)
            return
        async with self._session.ws_connect(url, protocols=(SUBPROTOCOL,), max_msg_size=0, compress=0) as socket:
            await socket.send_str(orjson.dumps({"t": "hello", "token": self._key}).decode())
            for number, (task, _) in self._open.items():
                frame = {"t": "sub", "id": number, "task": str(task), "tree": False}
                await socket.send_str(orjson.dumps(frame).decode())
            await self.reads.wait()


@pytest.mark.long
async def test_a_client_that_does_not_read_harms_nobody_and_is_told_the_end_later(stage: Stage) -> None:
    async with stage(watchers=1, env={"MILEPOST_CONCURRENCY": "300"}) as scene, aiohttp.ClientSession() as session:
        slow = _Slow(session, scene.system.streams, scene.system.key, scene.record, "slow client")
        for _ in range(200):
            task = await scene.submit({"type": "test.chatter", "payload": {"seconds": 20, "words": "w" * 1500}})
            slow.watch(task).slow = True
        running = asyncio.create_task(slow.run())
        try:
            # The others see it all meanwhile.
            assert await scene.watchers[0].all_ended(90)
            slow.reads.set()
            await scene.passes(60)
            assert await slow.all_ended(60)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
