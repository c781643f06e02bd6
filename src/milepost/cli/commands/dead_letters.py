"""`milepost dead-letters`: list, show, replay."""

import asyncio
import base64
from collections.abc import Iterable
from datetime import UTC
from typing import Any

import click
import uuid_utils.compat as uuids

from milepost.cli.exits import Exit
from milepost.cli.output import instant, json_option, printable, task_lines, write, write_json
from milepost.client import Client
from milepost_schemas.deadletter import DeadLetter, DeadLetterDetail, DeadLetterGroup, Replayed

_GROUP = "{:<16}  {:<6}  {:<24}  {:>7}  {:<20}  {}"
_MEMBER = "{:<36}  {:<24}  {:<20}  {}"
_SHOWN = 80
_BYTES = 500


@click.group("dead-letters")
def dead_letters() -> None:
    """What failed for good: tasks without attempts left, and records nobody could read."""


@dead_letters.command("list")
@click.option("--type", "type_", help="Only this type of task, or records of this topic.")
@click.option("--kind", type=click.Choice(["task", "record"]), help="Only tasks, or only records.")
@click.option("--fingerprint", help="The members of one group instead of the groups.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="At most so many.")
@json_option
def list_(type_: str | None, kind: Any, fingerprint: str | None, limit: int, as_json: bool) -> None:
    """List groups of dead letters, or with --fingerprint the members of one. JSON is one object a line."""

    async def read() -> list[Any]:
        async with Client() as client:
            letters = client.dead_letters
            if fingerprint is not None:
                return await _some(letters.members(fingerprint, kind=kind or "task"), limit)
            return await _some(letters.groups(kind=kind, type=type_), limit)

    found = asyncio.run(read())
    if as_json:
        for one in found:
            write_json(one, line=True)
        return
    if not found:
        write("No dead letters match.")
        return
    write(*(_member_rows(found) if fingerprint is not None else _group_rows(found)))


@dead_letters.command()
@click.argument("id_", metavar="ID")
@json_option
def show(id_: str, as_json: bool) -> None:
    """Show one dead letter: a task with its attempts, or a record with what it holds."""

    async def read() -> DeadLetterDetail:
        async with Client() as client:
            return await client.dead_letters.get(id_)

    letter = asyncio.run(read())
    if as_json:
        write_json(letter)
    else:
        write(*_detail_lines(letter))


@dead_letters.command()
@click.argument("ids", metavar="[ID]...", nargs=-1)
@click.option("--fingerprint", help="All of this group.")
@click.option("--type", "type_", help="All of this type of task, or records of this topic.")
@click.option("--queue", help="All tasks of this queue.")
@click.option("--failed-from", type=click.DateTime(), help="Failed at this instant (UTC) or later.")
@click.option("--failed-before", type=click.DateTime(), help="Failed before this instant (UTC).")
@click.option("--all", "all_", is_flag=True, help="All there are.")
@click.option("--kind", type=click.Choice(["task", "record"]), default="task", show_default=True)
@click.option("--rate", type=click.FloatRange(0, min_open=True), help="Tasks a second; otherwise all at once.")
@click.option("--dry-run", is_flag=True, help="Only say how many it would be.")
@json_option
def replay(ids: tuple[str, ...], as_json: bool, dry_run: bool, **options: Any) -> Exit:
    """Try dead letters again: those named, or all that match. What fails meanwhile is not replayed again.

    Repeating it after an error is safe. Exits with 1 if some could not be replayed.
    """
    which = {
        "ids": ids or None,
        "fingerprint": options["fingerprint"],
        "type": options["type_"],
        "queue": options["queue"],
        "failed_from": _utc(options["failed_from"]),
        "failed_before": _utc(options["failed_before"]),
        "all": options["all_"],
    }
    if not any(which.values()):
        raise click.UsageError(
            "Say which: ids, --fingerprint, --type, --queue, --failed-from, --failed-before or --all."
        )
    how = {"kind": options["kind"], "rate": options["rate"], "dry_run": dry_run, "replay": uuids.uuid7()}
    done: list[Replayed] = []

    async def work() -> None:
        async with Client() as client:
            while True:
                part = await client.dead_letters.replay(**which, **how)
                done.append(part)
                # A dry run takes nothing away: the next page would be the same.
                if dry_run or not part.more or not part.count:
                    return
                if not as_json:
                    click.echo(f"{sum(one.count for one in done):,} so far", err=True)

    asyncio.run(work())
    return _replayed(done, named=len(ids), as_json=as_json)


def _replayed(done: list[Replayed], *, named: int, as_json: bool) -> Exit:
    last, count = done[-1], sum(one.count for one in done)
    refused = [refusal for one in done for refusal in one.refused]
    if as_json:
        whole = {"ids": [id_ for one in done for id_ in one.ids], "count": count, "refused": refused}
        write_json(last.model_copy(update=whole))
    else:
        words = "would be replayed" if last.dry_run else "replayed"
        more = " and more" if last.dry_run and last.more else ""
        due = f"; the last is due at {instant(last.last_due_at)}" if last.last_due_at is not None else ""
        write(f"{count:,}{more} {words}{due}.")
        for refusal in refused:
            click.echo(f"{refusal.id}: {refusal.reason}", err=True)
        if named > count + len(refused):
            click.echo(f"{named - count - len(refused):,} of those named are no dead letters (any more).", err=True)
    return Exit.FAILED if refused or (named and named > count) else Exit.DONE


async def _some(found: Any, limit: int) -> list[Any]:
    some: list[Any] = []
    async for one in found:
        some.append(one)
        if len(some) == limit:
            break
    return some


def _utc(moment: Any) -> Any:
    return None if moment is None else moment.replace(tzinfo=UTC)


def _error(letter: DeadLetter | DeadLetterGroup) -> str:
    return printable(f"{letter.error.type}: {letter.error.message}")[:_SHOWN]


def _group_rows(groups: list[DeadLetterGroup]) -> Iterable[str]:
    yield _GROUP.format("FINGERPRINT", "KIND", "TYPE", "COUNT", "NEWEST", "ERROR")
    for group in groups:
        count = f"{group.count:,}" + ("+" if group.count_is_minimum else "")
        newest = instant(group.newest_at)
        yield _GROUP.format(group.fingerprint, group.kind, printable(group.type), count, newest, _error(group))


def _member_rows(letters: list[DeadLetter]) -> Iterable[str]:
    yield _MEMBER.format("ID", "TYPE", "AT", "ERROR")
    for letter in letters:
        yield _MEMBER.format(str(letter.id), printable(letter.type), instant(letter.at), _error(letter))


def _detail_lines(letter: DeadLetterDetail) -> Iterable[str]:
    if letter.task is not None:
        yield from task_lines(letter.task)
    yield f"{'group':<9} {letter.fingerprint}"
    for run in letter.attempts:
        why = f"  {printable(f'{run.error.type}: {run.error.message}')}" if run.error else ""
        yield f"{'attempt':<9} {run.attempt} {run.outcome} {instant(run.started_at) or '-'}{why}"
    if letter.record is not None and letter.origin is not None:
        origin = letter.origin
        yield f"{'id':<9} {letter.id}"
        yield f"{'origin':<9} {printable(origin.topic)}, partition {origin.partition}, offset {origin.offset}"
        yield f"{'error':<9} {printable(letter.error.message)}"
        yield f"{'put aside':<9} {instant(letter.at)}"
        yield f"{'replayed':<9} {instant(letter.replayed_at) or 'no'}"
        for header in letter.record.headers:
            yield f"{'header':<9} {printable(header.name)}: {_readable(header.value)}"
        yield f"{'key':<9} {_readable(letter.record.key)}"
        yield f"{'value':<9} {letter.record.size:,} bytes: {_readable(letter.record.value)}"


def _readable(data: str | None) -> str:
    """Return base64 as text that steers no terminal, its beginning only."""
    if data is None:
        return "none"
    return printable(base64.b64decode(data)[:_BYTES].decode("utf-8", "replace"))
