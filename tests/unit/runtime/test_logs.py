"""What others make us log stays on its line and steers no terminal."""

import subprocess
import sys

import pytest

NASTY = "one\nERROR forged line\r\x1b[2Jclear\x9b31m\x00"
SCRIPT = """
import logging
from milepost.runtime.logs import get_logger, set_up_logs
from milepost.runtime.settings import Settings
set_up_logs(Settings(_env_file=None, log_format={log_format!r}), "api")
nasty = {nasty!r}
get_logger("milepost.test").warning("said " + nasty, value=nasty, many=[nasty])
logging.getLogger("library").warning("said %s", nasty)
try:
    raise ValueError(nasty)
except ValueError:
    get_logger("milepost.test").exception("failed")
"""


def _said(log_format: str) -> str:
    script = SCRIPT.format(log_format=log_format, nasty=NASTY)
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    return ran.stderr.decode()


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_logged_text_forges_no_line_and_steers_no_terminal(log_format: str) -> None:
    said = _said(log_format)
    assert not any(line.startswith("ERROR forged") for line in said.replace("\r", "\n").split("\n")[:4])
    assert not set(said) & {"\x1b", "\x9b", "\x00", "\r"}
    plain = 3 if log_format == "json" else 2
    assert all("forged line" in line for line in said.splitlines()[:plain])


def test_a_traceback_keeps_its_lines_on_a_terminal() -> None:
    assert "\nTraceback (most recent call last):\n" in _said("console")
