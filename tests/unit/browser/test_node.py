"""The client for pages has tests of its own, in TypeScript."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.skipif(shutil.which("npm") is None, reason="there is no Node here")
@pytest.mark.parametrize("target", ["check-browser", "test-browser"])
def test_the_client_for_pages_passes_its_own_tests_and_its_built_file_is_what_the_source_gives(target: str) -> None:
    # A make above us has put its own flags there.
    environment = {name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MAKELEVEL"}}
    done = subprocess.run(
        ["make", target], cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=170
    )
    assert done.returncode == 0, done.stdout + done.stderr
