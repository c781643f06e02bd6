"""What `milepost dev` does once everything runs: say where, reload, wait."""

import asyncio
import shutil
import sys
from pathlib import Path

from milepost.cli.dev.narrator import Narrator
from milepost.cli.dev.stand import Stand
from milepost.cli.exits import Exit
from milepost.client.address import ENVIRONMENT_FILE


def shown(path: Path) -> str:
    """Return a path as one would type it here."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def command_here() -> str:
    """Return `milepost` as one has to type it here: with its folder, unless the shell finds it by itself."""
    script = Path(sys.executable).with_name("milepost")
    return "milepost" if shutil.which("milepost") or not script.exists() else shown(script)


async def serve_dev(stand: Stand, narrator: Narrator) -> Exit:
    """Serve until cancelled."""
    stand.served = True
    plan = stand.plan
    watched = stand.reload_on_change(Path.cwd())
    home = shown(plan.home)
    narrator.say(f"api         {plan.url}  (description: {plan.url}/v1/docs)")
    narrator.say(f"stream      {plan.stream_url}")
    narrator.say(f"events      {plan.events_url}/v1/events  (server-sent: curl -N -H 'Authorization: Bearer KEY')")
    if plan.page_url:
        narrator.say(f"in a page   {plan.page_url}")
    narrator.say(f"tasks       {', '.join(plan.tasks)}")
    if watched:
        narrator.say(f"reloading   {', '.join(shown(place) for place in watched)}")
    narrator.say(f"logs        {home}/log/    key: {home}/key")
    narrator.say(f"for a shell . {home}/{ENVIRONMENT_FILE}")
    narrator.say(f"try         {command_here()} submit demo.count --payload '{{\"to\": 50}}' --watch")
    narrator.say("Serving. Ctrl-C stops everything.")
    await asyncio.Event().wait()
    return Exit.DONE
