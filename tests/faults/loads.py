"""What fault tests submit while they break things."""

import random

from tests.traffic import Job


def short(chance: random.Random, number: int) -> Job:
    """Nearly all done at once, one in eight with progress; one in five watched."""
    watched = chance.random() < 0.2
    if number % 8 == 0:
        return Job({"type": "demo.count", "payload": {"to": 5, "delay": 0.1}}, watched=watched)
    return Job({"type": "demo.echo", "payload": {"n": number}}, watched=watched)


def varied(chance: random.Random, number: int) -> Job:
    """Of every kind: progress, retries, processes, cancelled ones."""
    watched = chance.random() < 0.3
    match number % 10:
        case 0:
            return Job({"type": "demo.fail", "payload": {"times": 1}, "max_attempts": 20}, watched=watched)
        case 1:
            return Job({"type": "demo.spin", "payload": {"seconds": 0.05}, "max_attempts": 20}, watched=watched)
        case 2 | 3:
            job = {"type": "demo.count", "payload": {"to": 40, "delay": 0.1}, "max_attempts": 20}
            return Job(job, chance.uniform(0.1, 2.0) if number % 2 else None, watched)
        case _:
            return Job({"type": "demo.echo", "payload": {"n": number}, "max_attempts": 20}, watched=watched)
