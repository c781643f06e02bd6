"""What to say of an attempt whose process ended without an outcome: pure."""

import re
import signal
from dataclasses import dataclass
from typing import Final

from milepost_worker.execution.wire import Ending, Why
from milepost_worker.outcome import TRACEBACK_CHARS, Failed, clean, ended

_MIB: Final = 2**20
_NATIVE: Final = frozenset({signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGTRAP})
_FAULT: Final = "Fatal Python error: "
"""How the fault handler begins what it writes when a signal ends the interpreter."""
_NEAR: Final = 0.8
"""Of a limit: who had so much of it was probably refused more."""
_REFUSED: Final = re.compile(r"std::bad_alloc|memory allocation of \d{1,20} bytes failed")
"""What the runtimes of C++ and Rust say when they end a process because it was refused memory."""
_LAST_WORDS_CHARS: Final = 4_000
MORE: Final = "Raise memory= of the task, or have it hold less at once."
LESS: Final = "Have it hold less at once, or run it where there is more."


@dataclass(frozen=True, slots=True)
class Limits:
    """What a task's process may take: bytes, seconds of processor time; None is no limit."""

    memory: int | None = None
    cpu_s: int | None = None


def postmortem(ending: Ending, limits: Limits, output: str = "", *, oom_killed: bool = False) -> Failed:
    """Return the failure.

    `output` is the end of what the process wrote; `oom_killed` says that the kernel ended some process of this
    container for want of memory while this one ran.
    """
    match ending.why:
        case Why.NO_PROCESS:
            return ended(
                "NoProcess", "The machine would not start a process for the handler: no memory or too many are left."
            )
        case Why.LOST:
            return ended("Lost", "The process that watched over the handler ended, and the handler with it.")
        case Why.LEASE:
            return ended("LeaseLost", "The worker could not renew the task's lease in time; the handler was ended.")
        case Why.ASKED:
            return ended("Stopped", "The worker ended the handler's process.")
        case Why.ITSELF:
            failed = _by_itself(ending, limits, output, oom_killed=oom_killed)
    at = output.rfind(_FAULT)
    if at < 0:
        return failed
    traceback = clean(output[at : at + TRACEBACK_CHARS], TRACEBACK_CHARS)
    return Failed(failed.error.model_copy(update={"traceback": traceback}))


def _by_itself(ending: Ending, limits: Limits, output: str, *, oom_killed: bool) -> Failed:
    peak = _peak(ending, limits)
    if ending.status >= 0:
        return ended("Crashed", f"The handler's process exited with status {ending.status} without a result; {peak}.")
    number = -ending.status
    cpu_s = limits.cpu_s
    # Whoever ignores the one is ended by the other a second later.
    used_up = cpu_s is not None and number == signal.SIGKILL and ending.cpu_ms >= cpu_s * 1000
    if cpu_s is not None and (number == signal.SIGXCPU or used_up):
        return ended("CpuLimit", f"The handler used up the {cpu_s} s of processor time its task may take; {peak}.")
    name = _name(number)
    if number == signal.SIGKILL and oom_killed:
        why = "the kernel did so, because the machine or its container was out of memory"
        advice = "Give it more, run fewer such tasks at once, or bound them with memory=."
        return ended("OutOfMemory", f"The handler's process was ended by {name}: {why}; {peak}. {advice}")
    if number == signal.SIGKILL:
        return ended("Crashed", f"The handler's process was ended by {name}, not by Milepost; {peak}.")
    if number in _NATIVE:
        return _crash(ending, name, limits.memory, output)
    return ended("Crashed", f"The handler's process was ended by {name}; {peak}.")


def _crash(ending: Ending, name: str, limit: int | None, output: str) -> Failed:
    """Tell a crash from one that followed a refused allocation, as far as that can be told.

    Nobody sees the refusal itself. What the process had when the signal came is what its limit bounds; where nobody saw
    that, the peak of resident memory stands for it.
    """
    words = _REFUSED.search(output[-_LAST_WORDS_CHARS:])
    said = f"its last words were {words[0]!r}" if words else ""
    peak = f"at its peak it held {ending.peak_kib // 1024} MiB"
    if limit is None:
        first = f"The handler's process was ended by {name}; {peak}"
        if not said:
            return ended("Crashed", f"{first}.")
        return ended("OutOfMemory", f"{first}; {said}: this machine refused it more memory. {LESS}")
    had = ending.data_kib * 1024 or ending.peak_kib * 1024
    used = f"with {had // _MIB} MiB in use of the {limit // _MIB} MiB its task may take"
    first = f"The handler's process was ended by {name} {used}; {peak}"
    if said:
        return ended("OutOfMemory", f"{first}; {said}: it ran out of memory. {MORE}")
    if had >= _NEAR * limit:
        why = "it probably ran out of memory, as native code that is refused some often ends like this"
        return ended("OutOfMemory", f"{first}: {why}. {MORE}")
    why = "Native code that is refused memory ends like this; if it asked for more than was left at once, raise memory="
    return ended("Crashed", f"{first}. {why}.")


def _peak(ending: Ending, limits: Limits) -> str:
    said = f"at its peak it held {ending.peak_kib // 1024} MiB"
    return said if limits.memory is None else f"{said}, and its task may take {limits.memory // _MIB} MiB"


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
