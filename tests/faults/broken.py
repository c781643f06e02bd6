"""What faults for alerts have in common: what each says of itself, and a load that goes on whatever comes of it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
from websockets.exceptions import WebSocketException

from milepost.client import Client
from milepost.errors import MilepostError
from tests.scene import Scene

Fault = Callable[[Scene, Client], AsyncIterator[None]]
"""Breaks something, yields, and mends it."""
ALL_BREAKS: dict[str, "Broken"] = {}
"""By the name of the alert, and of the objective where it has one for each."""
TIMES: Final = 30
"""Rules are so many times faster: two minutes are four seconds."""


@dataclass(frozen=True, slots=True)
class Broken:
    """A fault, and what the system and the rules need to be like for it."""

    alert: str
    breaks: Callable[[Scene, Client], AbstractAsyncContextManager[None]]
    objective: str | None = None
    """Of an alert that watches several: the one that this fault concerns."""
    times: int = TIMES
    env: Mapping[str, str] = field(default_factory=dict)

    def concerns(self, labels: Mapping[str, str]) -> bool:
        """Whether what fires with these labels is the alert about what this fault breaks."""
        return labels["alertname"] == self.alert and self.objective in {None, labels.get("objective")}


def fires(
    alert: str, objective: str | None = None, *, times: int = TIMES, env: Mapping[str, str] | None = None
) -> Callable[[Fault], Fault]:
    """Say which alert a fault brings about; once for each where it brings about several."""

    def named(fault: Fault) -> Fault:
        name = alert if objective is None else f"{alert} of {objective}"
        ALL_BREAKS[name] = Broken(alert, asynccontextmanager(fault), objective, times, env or {})
        return fault

    return named


@asynccontextmanager
async def meanwhile(*work: Callable[[], Awaitable[Any]]) -> AsyncIterator[None]:
    """Do these again and again inside the block, whatever comes of it."""

    async def go_on(number: int, once: Callable[[], Awaitable[Any]]) -> None:
        await asyncio.sleep(number * 0.15)  # or all would wait and come back together
        while True:
            with suppress(MilepostError, aiohttp.ClientError, WebSocketException, OSError):
                await once()
            await asyncio.sleep(0.2)

    tasks = [asyncio.create_task(go_on(number, once)) for number, once in enumerate(work)]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def submit(client: Client, type_: str, payload: Mapping[str, Any], times: int = 1, **members: Any) -> None:
    """Submit so many of one kind, and wait for none."""
    for _ in range(times):
        await client.submit(type_, dict(payload), **members)
