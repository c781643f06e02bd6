"""`milepost queues` and `milepost explain`."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import click

from milepost.cli.output import instant, json_option, number, printable, span, write, write_json
from milepost.client import Client
from milepost_schemas.queue import Explanation, Limit, Queue, Retention

_ROW = "{:<24}  {:>8}  {:>10}  {:>8}  {:>9}  {:>12}  {}"
_RATE = re.compile(r"(\d+)/(\d+(?:\.\d+)?)(s|m|h)?")
_TIME = re.compile(r"(\d+(?:\.\d+)?)(s|m|h|d)?")
_SECONDS = {None: 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
T = TypeVar("T")

all_option = click.option("--all-tenants", is_flag=True, help="For the tasks of all tenants (an admin key of yours).")


def _ask(question: Callable[[Client], Awaitable[T]]) -> T:
    async def ask() -> T:
        async with Client() as client:
            return await question(client)

    return asyncio.run(ask())


@click.group()
def queues() -> None:
    """What waits in queues, and what holds it back."""


@queues.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List queues: what waits and runs, who serves them, pauses and limits. JSON is one object a line."""
    found = _ask(lambda client: client.queues.list())
    if as_json:
        for queue in found:
            write_json(queue, line=True)
        return
    if not found:
        write("There are no queues: no worker runs, and nothing waits.")
        return
    write(_ROW.format("QUEUE", "WAITING", "OLDEST", "RUNNING", "ENDED/S", "WORKERS", "").rstrip())
    for queue in found:
        write(_queue_row(queue).rstrip())


def _queue_row(queue: Queue) -> str:
    age = "" if queue.oldest_age is None else span(queue.oldest_age)
    workers = f"{queue.workers} ({queue.slots:,})"
    notes = [f"paused since {instant(queue.paused_at)}"] if queue.paused_at else []
    notes += [_bounds(limit) for limit in queue.limits]
    rate = number(queue.rate) if queue.rate else "0"
    return _ROW.format(queue.queue, f"{queue.depth:,}", age, f"{queue.running:,}", rate, workers, "; ".join(notes))


@queues.command()
@click.argument("queue")
@all_option
@json_option
def pause(queue: str, all_tenants: bool, as_json: bool) -> None:
    """Let nothing of a queue start any more; what runs goes on."""
    limit = _ask(lambda client: client.queues.pause(queue, all_tenants=all_tenants))
    _said(limit, f"{queue} is paused since {instant(limit.paused_at)}; what runs goes on.", as_json=as_json)


@queues.command()
@click.argument("queue")
@all_option
@json_option
def resume(queue: str, all_tenants: bool, as_json: bool) -> None:
    """Let a queue go on."""
    limit = _ask(lambda client: client.queues.resume(queue, all_tenants=all_tenants))
    _said(limit, f"{queue} goes on.", as_json=as_json)


@queues.command("set")
@click.argument("name", required=False)
@click.option(
    "--scope",
    type=click.Choice(["queue", "type", "key", "tenant"]),
    default="queue",
    show_default=True,
    help="What NAME is; without NAME: each key or tenant that has no limit of its own.",
)
@click.option("--concurrency", type=click.IntRange(0), help="So many run at once.")
@click.option("--rate", metavar="N/PERIOD", help="So many start in a period, such as 10/1m.")
@click.option("--no-limit", is_flag=True, help="End the limit.")
@all_option
@json_option
def set_(
    name: str | None,
    scope: Any,
    concurrency: int | None,
    rate: str | None,
    no_limit: bool,
    all_tenants: bool,
    as_json: bool,
) -> None:
    """Set the limit of a queue, or with --scope of a type, a key or a tenant, in the place of the one before."""
    if no_limit == (concurrency is not None or rate is not None):
        raise click.UsageError("Say --concurrency, --rate or both; or --no-limit.")
    bound = None if rate is None else _rate(rate)
    limit = _ask(
        lambda client: client.queues.limit(scope, name, concurrency=concurrency, rate=bound, all_tenants=all_tenants)
    )
    _said(limit, f"{_name(limit)}: {_bounds(limit) or 'no limit'}.", as_json=as_json)


@queues.command()
@click.argument("queue")
@click.option("--finished", metavar="TIME", help="Tasks that succeeded or were cancelled: 36h, 30d or forever.")
@click.option("--failed", metavar="TIME", help="Tasks that failed.")
@click.option("--default", is_flag=True, help="As the settings say, both.")
@json_option
def keep(queue: str, finished: str | None, failed: str | None, default: bool, as_json: bool) -> None:
    """Set how long finished tasks of a queue are kept; what is not given is as the settings say."""
    if default == (finished is not None or failed is not None):
        raise click.UsageError("Say --finished, --failed or both; or --default.")
    times = {"finished": _kept("--finished", finished), "failed": _kept("--failed", failed)}
    retention = _ask(lambda client: client.queues.keep(queue, **times))
    if as_json:
        write_json(retention)
    else:
        write(printable(f"{queue}: finished tasks are kept {_kept_text(retention)}."))


@queues.command()
@json_option
def limits(as_json: bool) -> None:
    """List the limits and pauses your tasks stand under. JSON is one object a line."""
    found = _ask(lambda client: client.queues.limits())
    for limit in found:
        if as_json:
            write_json(limit, line=True)
        else:
            paused = f"paused since {instant(limit.paused_at)}" if limit.paused_at else ""
            write(f"{_name(limit)}: {'; '.join(filter(None, (paused, _bounds(limit))))}")
    if not found and not as_json:
        write("There are no limits.")


@click.command()
@click.argument("id_", metavar="ID")
@json_option
def explain(id_: str, as_json: bool) -> None:
    """Say why a task does not run, or where it does."""
    found = _ask(lambda client: client.queues.explain(id_))
    if as_json:
        write_json(found)
        return
    write(f"{found.state.value}: {printable(found.detail)}")
    write(*_more(found))


def _more(found: Explanation) -> list[str]:
    rows = []
    if found.queued_for is not None:
        rows.append(f"queued for {span(found.queued_for)}")
    if found.position is not None:
        rows.append(f"position   {found.position:,}")
    if found.limit is not None and found.limit.held_by:
        rows += [f"held by    {task}" for task in found.limit.held_by]
    return rows


def _said(limit: Limit, text: str, *, as_json: bool) -> None:
    if as_json:
        write_json(limit)
    else:
        write(printable(text))


def _name(limit: Limit) -> str:
    name = f"{limit.scope.value} {printable(limit.name)}" if limit.name else f"each {limit.scope.value}"
    return f"{name} (all tenants)" if limit.all_tenants else name


def _bounds(limit: Limit) -> str:
    parts = [] if limit.concurrency is None else [f"{limit.concurrency:,} at once"]
    if limit.rate is not None:
        parts.append(f"{limit.rate.count:,} starts in {span(limit.rate.per)}")
    return ", ".join(parts)


def _kept(option: str, text: str | None) -> Any:
    if text is None or text == "forever":
        return text
    match = _TIME.fullmatch(text)
    if match is None:
        raise click.BadParameter(f"{text!r} is not like 36h, 30d or forever.", param_hint=option)
    return float(match[1]) * _SECONDS[match[2]]


def _kept_text(retention: Retention) -> str:
    finished, failed = (
        "for ever" if kept == "forever" else f"{number(kept / 86400)} d" if kept >= 172_800 else span(kept)
        for kept in (retention.finished, retention.failed)
    )
    return f"{finished}, failed ones {failed}"


def _rate(text: str) -> tuple[int, float]:
    match = _RATE.fullmatch(text)
    if match is None or not int(match[1]) or not float(match[2]):
        raise click.BadParameter(f"{text!r} is not like 10/1m or 5/0.5s.", param_hint="--rate")
    return int(match[1]), float(match[2]) * _SECONDS[match[3]]
