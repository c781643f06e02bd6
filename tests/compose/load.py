"""What is submitted while containers are killed: tasks that keep the diary, so that it is seen who ran when."""

import random

from tests.traffic import Job


def noted(chance: random.Random, number: int) -> Job:
    """Of every kind: progress, threads, processes, retries, cancelled ones, and many that are done at once."""
    watched = chance.random() < 0.3
    match number % 10:
        case 0:
            return Job({"type": "soak.retry", "payload": {"fails": 1}}, watched=watched)
        case 1:
            return Job({"type": "soak.process", "payload": {"to": 3, "delay": 0.05}}, watched=watched)
        case 2 | 3:
            job = {"type": "soak.progress", "payload": {"to": 40, "delay": 0.1}}
            return Job(job, chance.uniform(0.1, 2.0) if number % 2 else None, watched)
        case 4:
            return Job({"type": "soak.thread", "payload": {"to": 20, "delay": 0.1}}, watched=watched)
        case _:
            return Job({"type": "soak.short", "payload": {"n": number}}, watched=watched)
