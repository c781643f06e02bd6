"""Clients that want to do harm change nothing for the others: each end is told, and nobody is thrown out."""

import asyncio
import statistics
import time
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from milepost.domain.grant import Grant
from milepost.runtime.tokens import Tokens
from tests.faults.conftest import Stage
from tests.faults.hostile import ATTACKS, Target, attacked
from tests.faults.loads import short
from tests.scene import Scene
from tests.traffic import Watcher

pytestmark = [pytest.mark.stack, pytest.mark.faults, pytest.mark.timeout(600)]

MIB = 1024 * 1024


class Delays:
    """How long after each end honest clients heard of it, in ms."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.found: list[float] = []
        take = Watcher._take

        def timed(watcher: Watcher, frame: dict[str, Any]) -> None:
            if frame["t"] == "end":
                finished = datetime.fromisoformat(frame["task"]["finished_at"])
                self.found.append((time.time() - finished.timestamp()) * 1000)
            take(watcher, frame)

        monkeypatch.setattr(Watcher, "_take", timed)

    def told(self, when: str) -> None:
        """Print the figures so far, and begin anew."""
        cuts = statistics.quantiles(self.found, n=100)
        print(f"{when}: {len(self.found)} ends, p50 {cuts[49]:.0f} ms, p99 {cuts[98]:.0f} ms")  # noqa: T201
        self.found.clear()


async def target_of(scene: Scene) -> Target:
    tokens = Tokens.of(scene.direct)
    mine, *others = [
        await scene.submit({"type": "demo.count", "payload": {"to": 3, "delay": 0.1}}, watched=False) for _ in range(6)
    ]
    return Target(
        port=urlsplit(scene.system.streams[0]).port or 0,
        http_port=urlsplit(scene.system.notifier_urls[0]).port or 0,
        key=scene.system.key,
        stolen=tokens.sign("default", Grant(task=mine), 3600)[0],
        mine=mine,
        feed=tokens.sign("default", Grant(feed=True), 3600)[0],
        expired=tokens.sign("default", Grant(feed=True), 60, now=time.time() - 61)[0],
        forged=Tokens([b"x" * 32]).sign("default", Grant(feed=True), 3600)[0],
        others=others,
    )


@pytest.mark.parametrize(
    ("times", "rounds"),
    [(1, 1), pytest.param(3, 10, marks=pytest.mark.long)],
    ids=["short", "long"],
)
async def test_hostile_clients_change_nothing_for_the_others(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, times: int, rounds: int
) -> None:
    delays = Delays(monkeypatch)
    async with stage(
        watchers=4,
        env={
            "MILEPOST_MAX_PENDING_HELLOS": "60",
            "MILEPOST_LOG_LEVEL": "debug",
            "MILEPOST_TRUSTED_PROXIES": "127.0.0.1",
        },
    ) as scene:
        await scene.warm()
        scene.load(25, short)
        await scene.accepts(200)
        delays.told("without them")
        notifier = scene.system.notifiers[0]
        process = psutil.Process(notifier.pid)
        before = process.memory_info().rss
        target = await target_of(scene)
        async with attacked(target, times):
            await _all_answered(target)
            for _ in range(rounds):
                await scene.accepts(200)
            # Who comes now gets in, while the waiting room is full of those who say nothing.
            late = await scene.submit({"type": "demo.echo", "payload": {}})
            await scene.reaches(late, "succeeded")
        grown = (process.memory_info().rss - before) / MIB
        delays.told("with them")
        print(f"{sum(target.attempts.values())} attempts; the notifier grew by {grown:.0f} MiB")  # noqa: T201
        await scene.passes()
        assert [watcher.connects for watcher in scene.watchers] == [1] * len(scene.watchers), "nobody was thrown out"
        for how, known in ATTACKS.items():
            answers = target.answers[how.__name__]
            assert set(answers) <= {*known, "cut", 429}, f"{how.__name__} was answered {answers}"
            assert set(answers) & known
        assert grown < 300
        said = notifier.log_path.read_text()
        assert "Traceback" not in said, said[-5000:]
        assert "ticket=" not in said
        said += scene.system.api.log_path.read_text()
        for secret in (target.key, target.stolen, target.feed, target.expired, target.forged):
            assert secret not in said
            assert secret.rpartition(".")[2] not in said


async def _all_answered(target: Target) -> None:
    """Wait until each kind has done its worst at least once."""

    def missing() -> dict[str, Any]:
        return {
            how.__name__: dict(target.answers.get(how.__name__, ()))
            for how, known in ATTACKS.items()
            if not set(target.answers.get(how.__name__, ())) & known
        }

    try:
        async with asyncio.timeout(60):
            while missing():
                await asyncio.sleep(0.1)
    except TimeoutError:
        pytest.fail(f"these were not answered as they should be: {missing()}")
