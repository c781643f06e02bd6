"""What the kernel is asked for, from a real process without privileges."""

import subprocess
import sys
from pathlib import Path

import pytest

_ASK = """
import codecs, ctypes, os, time
from milepost_worker.execution.kernel import group_gives_way
codecs.lookup("ascii")  # later nobody may look into a Python that is in root's home
if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE: its files in /proc are its own again
answers = [group_gives_way(7) for _ in range(200)]
while not answers[-1]:
    time.sleep(0.01)
    answers.append(group_gives_way(7))
print(False in answers, open("/proc/self/autogroup").read().split()[-1])
"""


@pytest.mark.skipif(not Path("/proc/self/autogroup").exists(), reason="this kernel has no groups of sessions")
def test_a_session_that_is_told_to_ask_again_gives_way_in_the_end() -> None:
    command = [sys.executable, "-c", _ASK]
    asked = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert asked.stdout.split() == ["True", "7"]
