"""Checks of when handlers ran: a task is executed by one live owner at a time. Pure."""

from collections.abc import Iterator
from typing import Final
from uuid import UUID

from milepost.audit.facts import Facts, Mark
from milepost.audit.finding import Finding

STILL_S: Final = 0.5
"""Silent for longer than this beyond three of its own intervals, a handler was not running: its process stood still."""
STOPPING_S: Final = 3.0
"""A handler whose process stood still while the task went to somebody else cannot know when it wakes. It may run for so
long until its worker, which wakes at the same moment, has told it (coroutine, thread), or it was killed (process)."""


def check_diary(facts: Facts) -> Iterator[Finding]:
    """Check each task's executions against each other."""
    for task, marks in facts.diary.items():
        yield from _task(task, marks)


def _task(task: UUID, marks: list[Mark]) -> Iterator[Finding]:
    by_epoch: dict[int, list[Mark]] = {}
    for mark in sorted(marks, key=lambda mark: (mark.epoch, mark.at)):
        by_epoch.setdefault(mark.epoch, []).append(mark)
    for epoch, own in by_epoch.items():
        begun = sum(mark.what == "begin" for mark in own)
        if begun > 1:
            yield Finding(11, task, f"its handler was begun {begun} times in epoch {epoch}.")
    executions = list(by_epoch.values())
    for number, later in enumerate(executions):
        for earlier in executions[:number]:
            yield from _pair(task, earlier, later)


def _pair(task: UUID, earlier: list[Mark], later: list[Mark]) -> Iterator[Finding]:
    """An execution of an earlier epoch does nothing once one of a later epoch has begun."""
    began = later[0].at
    before = [mark for mark in earlier if mark.at <= began]
    after = [mark for mark in earlier if mark.at > began]
    if not after:
        return
    who = f"process {after[-1].pid} ran it in epoch {earlier[0].epoch}"
    then = f"after process {later[0].pid} had begun epoch {later[0].epoch}"
    if before and after[0].at - before[-1].at <= STILL_S + 3 * before[-1].every_s:
        yield Finding(11, task, f"{who} for {after[-1].at - began:.2f} s {then}, and had been at work all along.")
    elif (lasted := after[-1].at - after[0].at) > STOPPING_S:
        yield Finding(11, task, f"{who} {then}: it had stood still, and went on for {lasted:.2f} s when it woke.")
