"""What is said of an attempt whose process ended without a word."""

import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost_worker.execution.postmortem import Limits, postmortem
from milepost_worker.execution.wire import Ending, Why

MIB = 2**20
LIMITS = Limits(memory=256 * MIB, cpu_s=5)


def _ending(status: int, *, peak_mib: int = 40, cpu_ms: int = 100, why: Why = Why.ITSELF, data_mib: int = 0) -> Ending:
    return Ending(status, peak_mib * 1024, cpu_ms, why, data_mib * 1024)


@pytest.mark.parametrize(
    ("ending", "type_", "words"),
    [
        (_ending(7), "Crashed", "exited with status 7"),
        (_ending(-signal.SIGSEGV), "Crashed", "SIGSEGV"),
        (_ending(-signal.SIGSEGV), "Crashed", "refused memory"),
        (_ending(-signal.SIGABRT, peak_mib=250), "OutOfMemory", "SIGABRT"),
        (_ending(-signal.SIGABRT, data_mib=250), "OutOfMemory", "250 MiB in use of the 256 MiB"),
        (_ending(-signal.SIGABRT, data_mib=250), "OutOfMemory", "Raise memory="),
        # Mapped files fill what is resident, but no limit.
        (_ending(-signal.SIGSEGV, peak_mib=900, data_mib=40), "Crashed", "40 MiB in use of the 256 MiB"),
        (_ending(-signal.SIGKILL), "Crashed", "SIGKILL, not by Milepost"),
        (_ending(-signal.SIGXCPU), "CpuLimit", "5 s of processor time"),
        (_ending(-signal.SIGKILL, cpu_ms=6000), "CpuLimit", "5 s of processor time"),
        (_ending(-signal.SIGTERM), "Crashed", "SIGTERM"),
        (_ending(-77), "Crashed", "signal 77"),
        (_ending(0), "Crashed", "status 0"),
        (_ending(0, why=Why.LEASE), "LeaseLost", "lease"),
        (_ending(0, why=Why.LOST), "Lost", "watched over"),
        (_ending(1, why=Why.NO_PROCESS), "NoProcess", "would not start"),
        (_ending(-9, why=Why.ASKED), "Stopped", "ended the handler"),
    ],
)
def test_an_end_is_named_by_what_caused_it(ending: Ending, type_: str, words: str) -> None:
    error = postmortem(ending, LIMITS).error
    assert error.type == type_
    assert words in error.message
    assert error.retryable


def test_the_peak_and_the_limit_are_told() -> None:
    message = postmortem(_ending(-signal.SIGSEGV, peak_mib=123), LIMITS).error.message
    assert "it held 123 MiB" in message
    assert "of the 256 MiB its task may take" in message
    assert "may take" not in postmortem(_ending(-signal.SIGSEGV), Limits()).error.message


@pytest.mark.parametrize(
    "words", ["terminate called after throwing an instance of 'std::bad_alloc'", "memory allocation of 99 bytes failed"]
)
def test_last_words_of_a_refused_allocation_are_believed_but_not_those_of_long_ago(words: str) -> None:
    for limits in (LIMITS, Limits()):
        error = postmortem(_ending(-signal.SIGABRT, data_mib=40), limits, f"at work\n{words}\n").error
        assert error.type == "OutOfMemory"
        assert "its last words were" in error.message
        assert "at work" not in error.message
    assert postmortem(_ending(-signal.SIGABRT), LIMITS, words + "x\n" * 4000).error.type == "Crashed"


def test_a_kill_by_the_kernel_for_want_of_memory_is_told_from_others() -> None:
    error = postmortem(_ending(-signal.SIGKILL), Limits(), oom_killed=True).error
    assert error.type == "OutOfMemory"
    assert "out of memory" in error.message


def test_what_the_fault_handler_wrote_is_the_traceback_and_nothing_else_the_process_wrote_is() -> None:
    output = "password: secret\nFatal Python error: Segmentation fault\n\nStack (most recent call first):\n  File x\n"
    traceback = postmortem(_ending(-signal.SIGSEGV), LIMITS, output).error.traceback
    assert traceback is not None
    assert traceback.startswith("Fatal Python error: Segmentation fault")
    assert "secret" not in traceback
    assert postmortem(_ending(-signal.SIGSEGV), LIMITS, "password: secret").error.traceback is None


@given(
    st.builds(
        Ending,
        st.integers(-(2**31), 2**31),
        st.integers(0, 2**50),
        st.integers(0, 2**50),
        st.sampled_from(Why),
        st.integers(0, 2**50),
    ),
    st.builds(Limits, st.none() | st.integers(1, 2**50), st.none() | st.integers(1, 10**6)),
    st.text(),
    st.booleans(),
)
def test_there_is_something_to_say_of_every_end(ending: Ending, limits: Limits, output: str, oom_killed: bool) -> None:
    error = postmortem(ending, limits, output, oom_killed=oom_killed).error
    assert error.type
    assert error.message.endswith(".")
