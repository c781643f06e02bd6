"""`make undefended`: take each defence away, one at a time, and see its tests fail.

A defence that is taken away unnoticed is one without a test: the exit status is 1 then. The change is made in a copy of
the sources, which comes before the installed ones; this checkout stays as it is.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from tests.older import SOURCES
from tests.system import ROOT
from tests.undefended.defence import Defence
from tests.undefended.every import every_defence

_MINUTES: Final = 5
_TESTS_FAILED: Final = 1
_NO_TESTS: Final = 5


def _noticed(copy: Path, defence: Defence, *, verbose: bool) -> str | None:
    """Return which tests failed without the defence; None: all passed. Raises SystemExit if none ran."""
    file = copy / defence.file
    kept = file.read_text(encoding="utf-8")
    file.write_text(defence.taken_from(kept), encoding="utf-8")
    path = os.pathsep.join(str(copy / source) for source in SOURCES)
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *defence.tests]
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=60 * _MINUTES,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"hung for {_MINUTES} minutes"
    finally:
        file.write_text(kept, encoding="utf-8")
    if verbose:
        print(done.stdout)
    if done.returncode == _NO_TESTS:
        sys.exit(f"{defence.name}: no test is named so: {' '.join(defence.tests)}")
    if done.returncode == 0:
        return None
    failed = [line.split(" - ")[0].partition("::")[2] for line in done.stdout.splitlines() if line.startswith("FAILED")]
    if done.returncode != _TESTS_FAILED or not failed:
        sys.exit(f"{defence.name}: pytest ended with status {done.returncode}, and no test failed:\n{done.stdout}")
    return failed[0]


def main() -> int:
    """Take away what is asked for, or all; return the exit status."""
    parser = argparse.ArgumentParser(prog="make undefended", description=__doc__)
    parser.add_argument("--only", default="", help="those with this in their name")
    parser.add_argument("--after", type=int, default=0, help="go on after so many")
    parser.add_argument("--most", type=int, help="no more than so many")
    parser.add_argument("--verbose", action="store_true", help="show what pytest said")
    arguments = parser.parse_args()
    chosen = [d for d in every_defence() if arguments.only in d.name][arguments.after :][: arguments.most]
    unnoticed = []
    with tempfile.TemporaryDirectory(prefix="milepost-undefended-") as folder:
        copy = Path(folder)
        for source in SOURCES:
            shutil.copytree(ROOT / source, copy / source, ignore=shutil.ignore_patterns("__pycache__"))
        for number, defence in enumerate(chosen, start=1):
            began = time.monotonic()
            by = _noticed(copy, defence, verbose=arguments.verbose)
            if by is None:
                unnoticed.append(defence)
            said = f"noticed by {by}" if by else "NOT NOTICED"
            print(f"{number:3}/{len(chosen)}  {defence.name}: {said} ({time.monotonic() - began:.0f} s)", flush=True)
    print(f"{len(chosen) - len(unnoticed)} of {len(chosen)} defences are missed when they are gone.")
    return 1 if unnoticed else 0


if __name__ == "__main__":
    sys.exit(main())
