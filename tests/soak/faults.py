"""The faults a soak mixes. Each breaks one thing, waits, and mends it."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaProducer

from milepost.audit.facts import Place
from milepost.embedded import ManagedProcess
from milepost.live import connect
from milepost.log import Topics
from milepost.log.connection import connection
from milepost_schemas import Dispatch
from milepost_schemas.cloudevents import headers_of
from tests.proxy import Proxy
from tests.scene import Scene
from tests.soak.happened import Happened, Hit

Fault = Callable[["Blow"], Awaitable[None]]


@dataclass(slots=True)
class Blow:
    """One fault while it is dealt: what it may break, the chance that decides, and what is noted of it."""

    scene: Scene
    chance: random.Random
    happened: Happened

    def worker(self) -> int:
        """Choose a worker, which is hit now."""
        number = self.chance.randrange(len(self.scene.system.workers))
        self.hits(number)
        return number

    def hits(self, number: int) -> None:
        """Note that a worker is hit now."""
        worker = self.scene.system.workers[number]
        self.happened.hits.append(Hit(number, worker.pid if worker.running else 0, time.time()))

    def notifier(self) -> ManagedProcess:
        """Choose a notifier."""
        return self.chance.choice(self.scene.system.notifiers)

    async def wait(self, least: float, most: float) -> None:
        """Let some time pass."""
        await asyncio.sleep(self.chance.uniform(least, most))


@dataclass(slots=True)
class Breaker:
    """Breaks things; `chance` decides which and for how long."""

    scene: Scene
    chance: random.Random
    only: Collection[str] = ()
    """Names of faults; none: all there are."""
    done: Counter[str] = field(default_factory=Counter)
    happened: list[Happened] = field(default_factory=list)
    """Every fault, in the order in which they began."""
    unexpected: list[str] = field(default_factory=list)
    """Processes that ended though nobody had ended them."""

    async def run(self, until: float, tell: Callable[[Happened], None]) -> None:
        """Break one thing after the other until that loop time; sometimes two at once. Each is told once mended."""
        loop = asyncio.get_running_loop()
        mixed = sorted(self.only or FAULTS)
        deck: list[str] = []
        while loop.time() < until:
            while len(deck) < 2:
                deck = self.chance.sample(mixed, len(mixed)) + deck
            names = [deck.pop()]
            if self.chance.random() < 0.15 and _subject(deck[-1]) != _subject(names[0]):
                names.append(deck.pop())
            await asyncio.gather(*(self._break(name) for name in names))
            self.done.update(names)
            await self._mend()
            for happened in self.happened[-len(names) :]:
                happened.mended = min(happened.mended, time.time())
                tell(happened)
            await asyncio.sleep(self.chance.uniform(2.0, 8.0))

    async def _break(self, name: str) -> None:
        happened = Happened(name, time.time())
        self.happened.append(happened)
        try:
            await FAULTS[name](Blow(self.scene, self.chance, happened))
        except Exception as error:  # noqa: BLE001 - whatever it is, the other faults come all the same
            self.unexpected.append(f"{name}: {error!r}")
        else:
            happened.mended = time.time()

    async def _mend(self) -> None:
        await self.scene.heal()
        stack = self.scene.stack
        for server in (stack.postgres, stack.kafka[0], stack.redis):
            if not server.running:
                self.unexpected.append(f"{server.name} was found down")
                await server.start()
        for process in self.scene.system.processes:
            if not process.running:
                self.unexpected.append(f"{process.name} ended with status {process.returncode}")
                await process.start()


async def _worker_killed(b: Blow) -> None:
    worker = b.scene.system.workers[b.worker()]
    worker.kill()
    await worker.wait()
    await b.wait(0, 6)
    await worker.start()


async def _worker_stopped(b: Blow) -> None:
    worker = b.scene.system.workers[b.worker()]
    await worker.stop()
    await b.wait(0, 3)
    await worker.start()


async def _workers_rolled(b: Blow) -> None:
    for number, worker in enumerate(b.scene.system.workers):
        b.hits(number)
        await worker.stop()
        await worker.start()
        await b.wait(1, 2)


async def _worker_paused(b: Blow) -> None:
    worker = b.scene.system.workers[b.worker()]
    worker.pause()
    await b.wait(1, 5)
    worker.resume()


async def _worker_paused_past_its_lease(b: Blow) -> None:
    worker = b.scene.system.workers[b.worker()]
    worker.pause()
    await b.wait(17, 22)
    worker.resume()


async def _worker_cut_off(b: Blow) -> None:
    """No FIN: as if its machine had vanished, and come back later."""
    number = b.worker()
    b.scene.lines[number].stall()
    await b.wait(3, 25)
    b.scene.lines[number].flow()


async def _worker_connections_cut(b: Blow) -> None:
    b.scene.lines[b.worker()].cut()


async def _commits_unknown(b: Blow) -> None:
    """Statements reach Postgres, answers do not come back."""
    line = b.scene.lines[b.worker()]
    line.hold_replies()
    await b.wait(0.5, 2)
    line.cut()
    line.flow()


def _on(wire: Callable[[Scene], Proxy], least: float, most: float) -> dict[str, Fault]:
    async def cut(b: Blow) -> None:
        wire(b.scene).cut()

    async def stalled(b: Blow) -> None:
        wire(b.scene).stall()
        await b.wait(least, most)
        wire(b.scene).flow()

    async def refused(b: Blow) -> None:
        await wire(b.scene).refuse()
        await b.wait(least, most)
        await wire(b.scene).listen()

    return {"connections cut": cut, "stalled": stalled, "unreachable": refused}


def _server(which: Callable[[Scene], Any], most: float) -> dict[str, Fault]:
    async def killed(b: Blow) -> None:
        server = which(b.scene)
        server.kill()
        await server.process.wait()
        await b.wait(0, most)
        await server.start()

    async def restarted(b: Blow) -> None:
        server = which(b.scene)
        await server.stop()
        await server.start()

    return {"killed": killed, "restarted": restarted}


async def _redis_flushed(b: Blow) -> None:
    redis = connect(b.scene.direct)
    try:
        await redis.flushall()
    finally:
        await redis.aclose()


async def _notifier_killed(b: Blow) -> None:
    notifier = b.notifier()
    notifier.kill()
    await notifier.wait()
    await b.wait(0, 4)
    await notifier.start()


async def _notifier_stopped(b: Blow) -> None:
    notifier = b.notifier()
    await notifier.stop()
    await notifier.start()


async def _notifier_paused(b: Blow) -> None:
    notifier = b.notifier()
    notifier.pause()
    await b.wait(2, 12)
    notifier.resume()


async def _api_killed(b: Blow) -> None:
    api = b.scene.system.api
    api.kill()
    await api.wait()
    await api.start()


async def _bad_records(b: Blow) -> None:
    """Undecodable records on every topic, and hints that are stale or doubled."""
    topics = Topics(b.scene.direct.topic_prefix)
    producer: Any = AIOKafkaProducer(**connection(b.scene.direct))
    await producer.start()
    try:
        for topic in (topics.events, topics.completions, topics.control, *topics.lanes("default")):
            for value in (b"", b"{", b"\xff" * b.chance.randint(1, 900_000)):
                sent = await producer.send_and_wait(topic, value, key=b"x")
                b.scene.forged.add(Place(sent.topic, sent.partition, sent.offset))
        known = list(b.scene.record.accepted)
        for task in b.chance.sample(known, min(50, len(known))):
            name = str(task)
            headers = headers_of(Dispatch, identity=f"{name}:0", source="/test", subject=name, traceparent=None)
            value = Dispatch(task=task, tenant="default", type="soak.short", epoch=0).model_dump_json().encode()
            for _ in range(2):
                await producer.send_and_wait(topics.work("default"), value, key=task.bytes, headers=headers)
    finally:
        await producer.stop()


def _named(subject: str, faults: dict[str, Fault]) -> dict[str, Fault]:
    return {f"{subject} {name}": fault for name, fault in faults.items()}


FAULTS: dict[str, Fault] = {
    "worker killed": _worker_killed,
    "worker stopped": _worker_stopped,
    "worker paused": _worker_paused,
    "worker paused past its lease": _worker_paused_past_its_lease,
    "worker cut off": _worker_cut_off,
    "worker connections cut": _worker_connections_cut,
    "worker commits unknown": _commits_unknown,
    "worker rolling restart": _workers_rolled,
    "notifier killed": _notifier_killed,
    "notifier stopped": _notifier_stopped,
    "notifier paused": _notifier_paused,
    "api killed": _api_killed,
    "records bad": _bad_records,
    "redis flushed": _redis_flushed,
    **_named("redis", _server(lambda scene: scene.stack.redis, 5)),
    **_named("redis", _on(lambda scene: scene.wires.redis, 1, 8)),
    **_named("postgres", _server(lambda scene: scene.stack.postgres, 3)),
    **_named("postgres", _on(lambda scene: scene.wires.postgres, 1, 5)),
    **_named("kafka", _server(lambda scene: scene.stack.kafka[0], 15)),
    **_named("kafka", _on(lambda scene: scene.wires.kafka, 2, 15)),
}


def _subject(name: str) -> str:
    subject = name.partition(" ")[0]
    return "kafka" if subject == "records" else subject
