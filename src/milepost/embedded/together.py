"""Starting several processes at once."""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any


async def start_together(starts: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Await all of them; the first that fails ends the others, and is raised once they have ended.

    Each is cancelled once at most, also when this is: what ends a process in its own cancellation is not disturbed.
    """
    tasks = [asyncio.ensure_future(start) for start in starts]
    try:
        over, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in over:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
