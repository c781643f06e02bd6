"""A tree of tasks, watched by the client while its notifier is killed."""

import asyncio
from pathlib import Path
from uuid import UUID

import pytest

from milepost.client import Run
from tests.conftest import MakeSettings, eventually
from tests.scene import audited as running

pytestmark = [pytest.mark.stack, pytest.mark.faults, pytest.mark.timeout(240)]


class Tree:
    """What was seen of a task and its descendants: how each was seen last."""

    def __init__(self, root: Run) -> None:
        self.last: dict[UUID, str] = {}
        self.watching = asyncio.create_task(self._watch(root))

    async def _watch(self, root: Run) -> None:
        async for event in root.watch(tree=True):
            self.last[event.task.id] = event.task.state

    async def shows(self, state: str, *runs: Run) -> None:
        """Wait until each task was last seen in a state; no longer than it takes without a comparison (30 s)."""

        async def check() -> bool:
            assert not self.watching.done(), "the watch ended before its task"
            return all(self.last.get(run.id) == state for run in runs)

        await eventually(check, f"{len(runs)} tasks to be seen {state}", 25)


async def test_children_submitted_before_during_and_after_a_kill_are_seen_to_their_ends(
    fresh: MakeSettings, tmp_path: Path
) -> None:
    mine, theirs = tmp_path / "root", tmp_path / "children"
    async with running(await fresh()) as system, system.client() as client:

        async def child(parent: Run) -> Run:
            return await client.submit("test.gate", {"path": str(theirs)}, parent_id=parent.id)

        root = await client.submit("test.gate", {"path": str(mine)})
        tree = Tree(root)
        await tree.shows("running", root)
        above = await child(root)
        below = await child(above)
        await tree.shows("running", above, below)
        system.notifiers[0].kill()
        meanwhile = await child(below)
        await system.notifiers[0].start()
        await system.ready(system.notifier_urls[0])
        later = await child(above)
        children = (above, below, meanwhile, later)
        await tree.shows("running", root, *children)
        theirs.touch()
        await tree.shows("succeeded", *children)
        mine.touch()
        await asyncio.wait_for(tree.watching, 40)
        assert tree.last == dict.fromkeys([root.id, *(run.id for run in children)], "succeeded")
