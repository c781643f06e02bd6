"""A project from nothing to nothing, whatever is done in between."""

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.compose.engine import Failed, Project
from tests.compose.settings import write_settings

Step = Callable[[str], None]
"""Says what was done, and when."""
Course = Callable[[Project, Path, dict[str, str], Step], None]
"""What is done: with the project, a folder for logs, its settings."""


def say(text: str) -> None:
    """Print a line now."""
    print(text, flush=True)  # noqa: T201 - this is a command


def tried(program: str, about: str | None, name: str, network: str, course: Course, *files: str, **more: object) -> int:
    """Read the command line and go the whole way; return the exit status.

    `network`, `files` and `more`: see `write_settings` and `Project`.
    """
    parser = argparse.ArgumentParser(prog=program, description=about)
    parser.add_argument("--keep", action="store_true", help="leave everything running if it fails, to look at")
    keep = parser.parse_args().keep
    folder = Path(tempfile.mkdtemp(prefix=f"{name}-"))
    folder.chmod(0o755)
    try:
        settings = write_settings(folder, network, **more)
        project = Project(name, folder / "env", *files)
        project.down()
        _go(project, folder, settings, course, keep=keep)
        left = project.left()
        if left:
            raise Failed(f"docker compose down --volumes left something: {left}")
    except Failed as problem:
        say(f"FAILED: {problem}\nThe logs are in {folder}")
        return 1
    shutil.rmtree(folder, ignore_errors=True)
    say("down: no container, no volume and no network is left")
    return 0


def _go(project: Project, folder: Path, settings: dict[str, str], course: Course, *, keep: bool) -> None:
    began = time.monotonic()
    try:
        course(project, folder, settings, lambda text: say(f"{time.monotonic() - began:6.1f} s  {text}"))
    except BaseException:
        (folder / "services.log").write_text(project.compose("logs", "--no-color", check=False))
        if not keep:
            project.down()
        raise
    project.down()
