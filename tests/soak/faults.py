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
from tests.scene import Held, Scene

Fault = Callable[["Breaker"], Awaitable[None]]


@dataclass(slots=True)
class Loss:
    """A worker that was taken from its tasks at a moment (seconds of the day), and what it held then."""

    kind: str
    at: float
    held: list[Held]


@dataclass(slots=True)
class Breaker:
    """Breaks things; `chance` decides which and for how long."""

    scene: Scene
    chance: random.Random
    only: Collection[str] = ()
    """Names of faults; none: all there are."""
    done: Counter[str] = field(default_factory=Counter)
    losses: list[Loss] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    """Processes that ended though nobody had ended them."""

    async def run(self, until: float) -> None:
        """Break one thing after the other until that loop time; sometimes two at once."""
        loop = asyncio.get_running_loop()
        mixed = sorted(self.only or FAULTS)
        deck: list[str] = []
        while loop.time() < until:
            while len(deck) < 2:
                deck = self.chance.sample(mixed, len(mixed)) + deck
            names = [deck.pop()]
            if self.chance.random() < 0.15 and _subject(deck[-1]) != _subject(names[0]):
                names.append(deck.pop())
            outcomes = await asyncio.gather(*(FAULTS[name](self) for name in names), return_exceptions=True)
            for name, outcome in zip(names, outcomes, strict=True):
                if isinstance(outcome, Exception):
                    self.unexpected.append(f"{name}: {outcome!r}")
            self.done.update(names)
            await self._mend()
            await asyncio.sleep(self.chance.uniform(2.0, 8.0))

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

    def worker(self) -> int:
        """Choose a worker."""
        return self.chance.randrange(len(self.scene.system.workers))

    def notifier(self) -> ManagedProcess:
        """Choose a notifier."""
        return self.chance.choice(self.scene.system.notifiers)

    async def wait(self, least: float, most: float) -> None:
        """Let some time pass."""
        await asyncio.sleep(self.chance.uniform(least, most))

    async def lose(self, kind: str, worker: int) -> None:
        """Note what a worker holds, right before it is taken from it."""
        held = await self.scene.held_by(self.scene.system.workers[worker])
        self.losses.append(Loss(kind, time.time(), held))


async def _worker_killed(b: Breaker) -> None:
    number = b.worker()
    worker = b.scene.system.workers[number]
    await b.lose("killed", number)
    worker.kill()
    await worker.wait()
    await b.wait(0, 6)
    await worker.start()


async def _worker_stopped(b: Breaker) -> None:
    worker = b.scene.system.workers[b.worker()]
    await worker.stop()
    await b.wait(0, 3)
    await worker.start()


async def _workers_rolled(b: Breaker) -> None:
    for worker in b.scene.system.workers:
        await worker.stop()
        await worker.start()
        await b.wait(1, 2)


async def _worker_paused(b: Breaker) -> None:
    worker = b.scene.system.workers[b.worker()]
    worker.pause()
    await b.wait(1, 5)
    worker.resume()


async def _worker_paused_past_its_lease(b: Breaker) -> None:
    number = b.worker()
    worker = b.scene.system.workers[number]
    await b.lose("paused", number)
    worker.pause()
    await b.wait(17, 22)
    worker.resume()


async def _worker_cut_off(b: Breaker) -> None:
    """No FIN: as if its machine had vanished, and come back later."""
    number = b.worker()
    await b.lose("cut off", number)
    b.scene.lines[number].stall()
    await b.wait(3, 25)
    b.scene.lines[number].flow()


async def _worker_connections_cut(b: Breaker) -> None:
    b.scene.lines[b.worker()].cut()


async def _commits_unknown(b: Breaker) -> None:
    """Statements reach Postgres, answers do not come back."""
    line = b.scene.lines[b.worker()]
    line.hold_replies()
    await b.wait(0.5, 2)
    line.cut()
    line.flow()


def _on(wire: Callable[[Scene], Proxy], least: float, most: float) -> dict[str, Fault]:
    async def cut(b: Breaker) -> None:
        wire(b.scene).cut()

    async def stalled(b: Breaker) -> None:
        wire(b.scene).stall()
        await b.wait(least, most)
        wire(b.scene).flow()

    async def refused(b: Breaker) -> None:
        await wire(b.scene).refuse()
        await b.wait(least, most)
        await wire(b.scene).listen()

    return {"connections cut": cut, "stalled": stalled, "unreachable": refused}


def _server(which: Callable[[Scene], Any], most: float) -> dict[str, Fault]:
    async def killed(b: Breaker) -> None:
        server = which(b.scene)
        server.kill()
        await server.process.wait()
        await b.wait(0, most)
        await server.start()

    async def restarted(b: Breaker) -> None:
        server = which(b.scene)
        await server.stop()
        await server.start()

    return {"killed": killed, "restarted": restarted}


async def _redis_flushed(b: Breaker) -> None:
    redis = connect(b.scene.direct)
    try:
        await redis.flushall()
    finally:
        await redis.aclose()


async def _notifier_killed(b: Breaker) -> None:
    notifier = b.notifier()
    notifier.kill()
    await notifier.wait()
    await b.wait(0, 4)
    await notifier.start()


async def _notifier_stopped(b: Breaker) -> None:
    notifier = b.notifier()
    await notifier.stop()
    await notifier.start()


async def _notifier_paused(b: Breaker) -> None:
    notifier = b.notifier()
    notifier.pause()
    await b.wait(2, 12)
    notifier.resume()


async def _api_killed(b: Breaker) -> None:
    api = b.scene.system.api
    api.kill()
    await api.wait()
    await api.start()


async def _bad_records(b: Breaker) -> None:
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
