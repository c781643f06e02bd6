"""An older version of the services, taken from the git history, to run beside this one."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from milepost.embedded import ManagedProcess
from tests.system import ROOT

MIGRATIONS = "src/milepost/store/migrations"
SOURCES = ("src", "schemas/src", "services/api/src", "services/notifier/src", "services/worker/src")


class NoOlderVersionError(Exception):
    """There is no such history here; the message says why."""


def _git(*arguments: str) -> bytes:
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=False)
    except FileNotFoundError as error:
        raise NoOlderVersionError("git is not installed, so there is no older version to run") from error
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip()
        raise NoOlderVersionError(f"no older version in this checkout (git {' '.join(arguments)}: {said})")
    return done.stdout


def older_ref() -> str:
    """Return OLDER_REF, or the last commit before a migration was added: version N-1, as schemas go.

    Raises NoOlderVersionError, as in a shallow clone or outside of git.
    """
    if chosen := os.environ.get("OLDER_REF"):
        return _git("rev-parse", "--verify", f"{chosen}^{{commit}}").decode().strip()
    if _git("status", "--porcelain", "--untracked-files=all", "--", f"{MIGRATIONS}/*.sql").strip():
        return _git("rev-parse", "--verify", "HEAD").decode().strip()
    added = _git("log", "-1", "--diff-filter=A", "--format=%H", "--", f"{MIGRATIONS}/*.sql").decode().strip()
    if not added:
        raise NoOlderVersionError("the history of this checkout has no commit that adds a migration")
    return _git("rev-parse", "--verify", f"{added}^").decode().strip()


class Older:
    """The sources of one commit in a folder, and processes that run on them, in the interpreter of this version."""

    def __init__(self, folder: Path) -> None:
        """Unpack them. Raises NoOlderVersionError."""
        self.ref = older_ref()
        archive = _git("archive", "--format=tar", self.ref, "src", "schemas", "services")
        subprocess.run(["tar", "-x", "-C", str(folder)], input=archive, check=True)
        self.migrations = sorted(path.name for path in (folder / MIGRATIONS).glob("*.sql"))
        self.path = os.pathsep.join(str(folder / source) for source in SOURCES)
        imported = "import milepost, milepost_schemas, milepost_api, milepost_notifier, milepost_worker as w"
        files = subprocess.run(
            [sys.executable, "-c", f"{imported}; print(milepost.__file__, milepost_schemas.__file__, w.__file__)"],
            env=os.environ | {"PYTHONPATH": self.path},
            cwd=ROOT,
            capture_output=True,
            check=True,
            text=True,
        ).stdout.split()
        assert all(Path(file).is_relative_to(folder) for file in files), files

    async def replace(self, processes: Iterable[ManagedProcess]) -> None:
        """Stop these processes and start them as this older version; `restore` undoes it."""
        await self._restart(processes, {"PYTHONPATH": self.path})

    async def restore(self, processes: Iterable[ManagedProcess]) -> None:
        """Stop these processes and start them as the version of this checkout."""
        await self._restart(processes, {})

    async def _restart(self, processes: Iterable[ManagedProcess], env: dict[str, str]) -> None:
        async def one(process: ManagedProcess) -> None:
            assert process.env is not None
            await process.stop()
            process.env = {name: value for name, value in process.env.items() if name != "PYTHONPATH"} | env
            await process.start()

        await asyncio.gather(*(one(process) for process in processes))
