"""Every query of the dashboards is asked of a real Prometheus that reads a real system."""

import asyncio
import re
from pathlib import Path
from typing import Final

import pytest

from deploy.observability.dashboards import DASHBOARDS, queries
from milepost.client import Client
from tests.conftest import eventually
from tests.prometheus import Prometheus, prometheus_of
from tests.system import System

pytestmark = pytest.mark.stack

_WHILE_ALL_IS_WELL: Final = {
    "milepost_leases_lost_total",
    "milepost_taken_back_total",
    "milepost_relay_closed_total",
    "milepost_relay_refused_total",
    "milepost_records_set_aside_total",
    "milepost_queue_oldest_age_seconds",
    "milepost_queue_depth",
    "ALERTS",
}
"""Nothing to show then: no such label has been counted yet, or nothing waits."""


async def test_every_query_of_the_dashboards_has_an_answer(system: System, client: Client, tmp_path: Path) -> None:
    async with prometheus_of(system, tmp_path) as prometheus:

        async def work() -> None:
            """A little of everything, for as long as it takes: rates need two looks."""
            while True:
                run = await client.submit("demo.count", {"to": 20, "delay": 0.02})
                async for _ in run.watch():
                    pass
                await client.submit("demo.fail", {"times": 9, "message": "no"}, max_attempts=2)

        working = asyncio.create_task(work())
        try:
            for dashboard in DASHBOARDS:
                for query in queries(dashboard):
                    await _answered(prometheus, query)
        finally:
            working.cancel()


async def _answered(prometheus: Prometheus, query: str) -> None:
    asked = re.sub(r'=~"\$\w+"', '=~".*"', query.replace("$__rate_interval", "5s"))
    if any(name in query for name in _WHILE_ALL_IS_WELL):
        await prometheus.ask(asked)
        return

    async def has() -> bool:
        found = await prometheus.ask(asked)
        return any(series["value"][1] != "NaN" for series in found)

    await eventually(has, f"an answer to {asked}", 30)
