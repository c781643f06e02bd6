"""What the shell completes of words that only the API knows. Without an answer in a moment: nothing."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Final

import click
from click.shell_completion import CompletionItem

from milepost.client import Client
from milepost.errors import MilepostError
from milepost_schemas.task import Task

PATIENCE_S: Final = 1.5
_SHOWN: Final = 50

Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def completing(read: Callable[[Client], AsyncIterator[tuple[str, str]]]) -> Complete:
    """Return what click asks for completions: of all (word, help) that `read` yields, those that begin so."""

    async def words() -> list[tuple[str, str]]:
        async with asyncio.timeout(PATIENCE_S), Client(repeat_for=0.0) as client:
            return [word async for word in read(client)]

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        del ctx, param
        try:
            found: Iterable[tuple[str, str]] = asyncio.run(words())
        except (MilepostError, TimeoutError):
            return []
        return [CompletionItem(word, help=text) for word, text in found if word.startswith(incomplete)]

    return complete


async def _types(client: Client) -> AsyncIterator[tuple[str, str]]:
    for info in await client.types():
        yield info.type, (info.description or "").partition("\n")[0]


async def _queues(client: Client) -> AsyncIterator[tuple[str, str]]:
    for queue in sorted({info.queue for info in await client.types()}):
        yield queue, ""


async def _recent(client: Client) -> AsyncIterator[tuple[str, str]]:
    async for task in client.list(limit=_SHOWN):
        yield str(task.id), _said(task)


def _said(task: Task) -> str:
    return f"{task.type} {task.state.value}"


types = completing(_types)
queues = completing(_queues)
recent = completing(_recent)
"""Ids of the newest tasks."""
