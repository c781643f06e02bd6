"""The client: submit tasks, watch them live, read their results.

async with Client() as client:
    run = await client.submit("demo.count", {"to": 10})
    async for event in run.watch():
        print(event.kind, event.task.progress)
    print(await run.result())
"""

from milepost.client.client import Client
from milepost.client.events import RunEvent
from milepost.client.feed import FeedEvent
from milepost.client.rollup import Rollup, rollup
from milepost.client.run import Run
from milepost.client.stream import Stream
from milepost.client.sync import SyncClient, SyncRun

__all__ = ["Client", "FeedEvent", "Rollup", "Run", "RunEvent", "Stream", "SyncClient", "SyncRun", "rollup"]
