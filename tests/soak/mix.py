"""What is submitted in a soak."""

import random

from tests.traffic import Job

WATCHED = 0.04
"""Share of tasks somebody watches."""


def mixed(chance: random.Random, number: int) -> Job:
    """Return the next task: mostly short ones, and some of every other kind."""
    roll = chance.random()
    kind, payload, more, cancel_after = _kind(chance, roll)
    members = {"type": kind, "payload": {"n": number, **payload}, **more}
    watched = chance.random() < WATCHED or "timeout" in more or (cancel_after is not None and chance.random() < 0.3)
    return Job(members, cancel_after, watched)


def _kind(chance: random.Random, roll: float) -> tuple[str, dict[str, object], dict[str, object], float | None]:
    kinds: tuple[tuple[float, str, dict[str, object], dict[str, object], float | None], ...] = (
        (0.05, "soak.progress", {"to": 10, "delay": 0.2}, {}, None),
        (0.01, "soak.thread", {"to": 5, "delay": 0.1}, {}, None),
        (0.008, "soak.process", {"to": 3, "delay": 0.05}, {}, None),
        (0.02, "soak.retry", {"fails": chance.randint(1, 2)}, {}, None),
        (0.005, "soak.fail", {}, {}, None),
        (0.01, "soak.progress", {"to": 100, "delay": 0.2}, {}, chance.uniform(0.0, 4.0)),
        (0.005, "soak.short", {}, {"delay": 5}, chance.uniform(0.0, 6.0)),
        (0.004, "soak.progress", {"to": chance.randint(30, 60), "delay": 0.5}, {"timeout": 120}, None),
        (0.01, "soak.short", {}, {"delay": round(chance.uniform(0.5, 10), 2)}, None),
        (0.03, "soak.short", {}, {"priority": chance.choice(["high", "low"])}, None),
    )
    for share, kind, payload, more, cancel in kinds:
        if roll < share:
            return kind, payload, more, cancel
        roll -= share
    return "soak.short", {}, {}, None
