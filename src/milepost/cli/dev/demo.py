"""What `milepost demo` does once everything runs: analyse a repository and watch it live."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from milepost.cli.dev.narrator import Narrator
from milepost.cli.dev.plan import EXAMPLE
from milepost.cli.dev.serving import command_here, serve_dev
from milepost.cli.dev.stand import Stand
from milepost.cli.exits import Exit
from milepost.cli.follow import follow
from milepost.cli.show import View
from milepost.cli.show.bars import Bars
from milepost.cli.show.lines import Lines
from milepost.client import Client
from milepost.errors import SettingsError
from milepost_schemas.task import TaskState

TYPE: Final = "repository.analyse"


class Demo:
    """Submit an analysis, show its progress from the stream, print its report read back from the API."""

    def __init__(self, repository: str, ref: str) -> None:
        self._payload = {"repository": repository, "ref": ref}

    async def __call__(self, stand: Stand, narrator: Narrator) -> Exit:
        """Return DONE after a report, FAILED without; on a terminal, serve until Ctrl-C."""
        plan = stand.plan
        if EXAMPLE not in plan.tasks:
            raise SettingsError(f"There is no {EXAMPLE} here. Stand in a checkout of Milepost, or use `milepost dev`.")
        async with Client(plan.url, plan.key) as client:
            narrator.say(f"Submitting {TYPE} of {self._payload['repository']} at {self._payload['ref']}")
            run = await client.submit(TYPE, self._payload)
            narrator.say(f"Accepted as task {run.id}; its progress comes live over {plan.stream_url}")
            view: View = Bars(narrator.console) if narrator.terminal else Lines()
            ended = await follow(client, [run], view)
            if run.task.state is TaskState.SUCCEEDED:
                report = await client.run(run.id).result()
                narrator.show(_rendered(report))
            else:
                narrator.say(f"There is no report. The worker's log may say more: {plan.home / 'log' / 'worker-0.log'}")
        narrator.say(f"The task: {plan.url}/v1/tasks/{run.id}  The API, described: {plan.url}/v1/docs")
        if not narrator.terminal:
            return ended
        stand.served = ended is Exit.DONE
        for command in (f"get {run.id}", "doctor"):
            narrator.say(f"Try in another terminal, in this folder: {command_here()} {command}")
        await serve_dev(stand, narrator)
        return ended


def repository_here(folder: Path) -> str:
    """Return the top of the git checkout around a folder. Raises SettingsError."""
    try:
        found = subprocess.run(
            ["git", "-C", str(folder), "rev-parse", "--show-toplevel"],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except FileNotFoundError:
        raise SettingsError("git is not installed; the analysis reads repositories with it.") from None
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        raise SettingsError(
            f"{folder} is not in a git checkout. Name one: milepost demo --repository PATH_OR_URL"
        ) from None
    return found.stdout.strip()


def _rendered(report: Any) -> Any:
    """Return the report as the example shows it; the example is code of this folder, not of this package."""
    if "" not in sys.path:
        sys.path.insert(0, "")
    example = import_module(EXAMPLE)
    return example.render_report(example.Report.model_validate(report))
