"""`milepost webhooks`: made, listed, changed, tried; what was delivered, and again."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC
from typing import Any, Final, TypeVar, get_args

import click

from milepost.cli.exits import Exit
from milepost.cli.options import labels_of
from milepost.cli.output import instant, json_option, printable, write, write_json
from milepost.client import Client
from milepost_schemas.webhook import (
    DeliveriesReplayed,
    DeliveryStanding,
    Ending,
    Webhook,
    WebhookDelivery,
    WebhookDeliveryDetail,
    WebhookWithSecret,
)

T = TypeVar("T")

_LIST: Final = "{:<36}  {:<8}  {:<20}  {}"
_LOG: Final = "{:<36}  {:<9}  {:<20}  {:>8}  {:<10}  {}"
_ENDS: Final = get_args(Ending)
_STATES: Final = get_args(DeliveryStanding)
_PING_S: Final = 60.0
_LOOK_S: Final = 0.3

_filters: Final = (
    click.option("--type", "types", multiple=True, help="Only tasks of this type; may be repeated."),
    click.option("--state", "states", multiple=True, type=click.Choice(_ENDS), help="Only this end; may be repeated."),
    click.option("--label", "labels", multiple=True, metavar="NAME=VALUE", help="Only with this; may be repeated."),
    click.option("--description", help="For people."),
)


def _filtered(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(_filters):
        command = option(command)
    return command


@click.group("webhooks")
def webhooks() -> None:
    """Whom to tell over HTTP that tasks end."""


@webhooks.command()
@click.argument("url")
@_filtered
@json_option
def create(url: str, as_json: bool, **options: Any) -> None:
    """Make a webhook to URL. Its secret is written now and never again."""
    _show_secret(_ask(lambda client: client.webhooks.create(url, **_members(options))), as_json=as_json)


@webhooks.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List webhooks, the oldest first. JSON is one object a line."""
    found = _ask(lambda client: client.webhooks.list())
    if as_json:
        for one in found:
            write_json(one, line=True)
    elif not found:
        write("There are no webhooks. Make one with: milepost webhooks create URL")
    else:
        write(_LIST.format("ID", "STANDING", "SINCE", "URL"), *(_row(one) for one in found))


@webhooks.command()
@click.argument("id_", metavar="ID")
@json_option
def show(id_: str, as_json: bool) -> None:
    """Show one webhook."""
    _show(_ask(lambda client: client.webhooks.get(id_)), as_json=as_json)


@webhooks.command("set")
@click.argument("id_", metavar="ID")
@click.option("--url", help="Where to.")
@_filtered
@click.option("--all", "clear", multiple=True, type=click.Choice(["types", "states", "labels"]), help="No such filter.")
@click.option("--enable/--disable", "enabled", default=None, help="One that was disabled begins anew.")
@json_option
def set_(
    id_: str, as_json: bool, clear: tuple[str, ...], enabled: bool | None, url: str | None, **options: Any
) -> None:
    """Change what is named, and nothing else."""
    changes = {**_members(options), **dict.fromkeys(clear)}
    changes |= {name: value for name, value in (("url", url), ("enabled", enabled)) if value is not None}
    if not changes:
        raise click.UsageError("Say what to change.")
    _show(_ask(lambda client: client.webhooks.change(id_, changes)), as_json=as_json)


@webhooks.command()
@click.argument("id_", metavar="ID")
@json_option
def delete(id_: str, as_json: bool) -> None:
    """Delete a webhook, and its log."""
    _ask(lambda client: client.webhooks.delete(id_))
    if as_json:
        write_json({"deleted": id_})
    else:
        write(f"{id_} is deleted.")


@webhooks.command("rotate-secret")
@click.argument("id_", metavar="ID")
@click.option("--overlap", type=click.FloatRange(0), help="Seconds the secret of before signs too (default: a day).")
@json_option
def rotate_secret(id_: str, overlap: float | None, as_json: bool) -> None:
    """Make a new secret. It is written now and never again."""
    _show_secret(_ask(lambda client: client.webhooks.rotate_secret(id_, overlap)), as_json=as_json)


@webhooks.command()
@click.argument("id_", metavar="ID")
@json_option
def ping(id_: str, as_json: bool) -> Exit:
    """Send a message that tells of no task, and wait for what comes of it. Exits with 1 if it was not taken."""

    async def work(client: Client) -> WebhookDeliveryDetail:
        sent = await client.webhooks.ping(id_)
        async with asyncio.timeout(_PING_S):
            while True:
                found = await client.webhooks.delivery(id_, sent.id)
                if found.log:
                    return found
                await asyncio.sleep(_LOOK_S)

    try:
        found = _ask(work)
    except TimeoutError:
        raise click.ClickException(
            f"Nobody sent it within {_PING_S:.0f} s. Is a worker running, and the webhook enabled?"
        ) from None
    if as_json:
        write_json(found)
    else:
        write(*_detail(found))
    return Exit.DONE if found.state == "delivered" else Exit.FAILED


@webhooks.command()
@click.argument("id_", metavar="ID")
@click.option("--state", type=click.Choice(_STATES), help="Only these.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="At most so many.")
@json_option
def deliveries(id_: str, state: Any, limit: int, as_json: bool) -> None:
    """Show the log of a webhook, the newest first. JSON is one object a line."""

    async def work(client: Client) -> list[WebhookDelivery]:
        found: list[WebhookDelivery] = []
        async for one in client.webhooks.deliveries(id_, state=state):
            found.append(one)
            if len(found) == limit:
                break
        return found

    found = _ask(work)
    if as_json:
        for one in found:
            write_json(one, line=True)
    else:
        write(_LOG.format("ID", "STATE", "NOTED", "ATTEMPTS", "TOLD", "TASK / ERROR"), *map(_log_row, found))


@webhooks.command()
@click.argument("id_", metavar="ID")
@click.argument("delivery")
@json_option
def delivery(id_: str, delivery: str, as_json: bool) -> None:
    """Show one delivery with its attempts."""
    found = _ask(lambda client: client.webhooks.delivery(id_, delivery))
    if as_json:
        write_json(found)
    else:
        write(*_detail(found))


@webhooks.command()
@click.argument("id_", metavar="ID")
@click.argument("ids", metavar="[DELIVERY]...", nargs=-1)
@click.option("--state", type=click.Choice(["delivered", "failed"]), help="All in this state.")
@click.option("--noted-from", type=click.DateTime(), help="Noted at this instant (UTC) or later.")
@click.option("--noted-before", type=click.DateTime(), help="Noted before this instant (UTC).")
@json_option
def replay(id_: str, ids: tuple[str, ...], state: Any, noted_from: Any, noted_before: Any, as_json: bool) -> Exit:
    """Make deliveries once more: those named, or all that match. Exits with 1 if some of those named were not."""
    span = {"state": state, "noted_from": _utc(noted_from), "noted_before": _utc(noted_before)}
    if not ids and not any(span.values()):
        raise click.UsageError("Say which: ids of deliveries, --state, --noted-from or --noted-before.")

    async def work(client: Client) -> list[DeliveriesReplayed]:
        done = [await client.webhooks.replay(id_, ids=ids or None, **span)]
        while done[-1].next is not None:
            done.append(await client.webhooks.replay(id_, **span, cursor=done[-1].next))
        return done

    done = _ask(work)
    chosen = [each for part in done for each in part.ids]
    if as_json:
        write_json(DeliveriesReplayed(count=len(chosen), ids=chosen, more=False))
    else:
        write(f"{len(chosen):,} are made once more.")
        if len(ids) > len(chosen):
            click.echo(f"{len(ids) - len(chosen):,} of those named are pending, or not there.", err=True)
    return Exit.FAILED if len(ids) > len(chosen) else Exit.DONE


def _ask(work: Callable[[Client], Awaitable[T]]) -> T:
    async def body() -> T:
        async with Client() as client:
            return await work(client)

    return asyncio.run(body())


def _members(options: dict[str, Any]) -> dict[str, Any]:
    given = {
        "types": [*options["types"]] or None,
        "states": [*options["states"]] or None,
        "labels": labels_of(options["labels"]) or None,
        "description": options["description"],
    }
    return {name: value for name, value in given.items() if value is not None}


def _utc(moment: Any) -> Any:
    return None if moment is None else moment.replace(tzinfo=UTC)


def _standing(hook: Webhook) -> tuple[str, Any]:
    if not hook.enabled:
        return "disabled", hook.disabled_at
    if hook.failing_since is not None:
        return "failing", hook.failing_since
    return "enabled", hook.created_at


def _row(hook: Webhook) -> str:
    standing, since = _standing(hook)
    return _LIST.format(str(hook.id), standing, instant(since), printable(hook.url))


def _show(hook: Webhook, *, as_json: bool) -> None:
    if as_json:
        write_json(hook)
    else:
        write(*_lines(hook))


def _show_secret(hook: WebhookWithSecret, *, as_json: bool) -> None:
    if as_json:
        write_json(hook)
        return
    write(*_lines(hook), f"{'secret':<11} {hook.secret}")
    click.echo("Keep the secret: it is not shown again.", err=True)


def _lines(hook: Webhook) -> Iterable[str]:
    standing, since = _standing(hook)
    rows: list[tuple[str, Any]] = [
        ("id", hook.id),
        ("url", hook.url),
        ("standing", f"{standing} since {instant(since)}"),
        ("why", hook.disabled_reason),
        ("types", " ".join(hook.types or ()) or None),
        ("states", " ".join(hook.states or ()) or None),
        ("labels", " ".join(f"{name}={value}" for name, value in (hook.labels or {}).items()) or None),
        ("description", hook.description),
        ("failures", hook.failures or None),
        ("last error", hook.last_error),
        ("old secret", f"signs until {instant(hook.secret_old_until)}" if hook.secret_old_until else None),
    ]
    for name, value in rows:
        if value is not None:
            yield f"{name:<11} {printable(str(value))}"


def _log_row(one: WebhookDelivery) -> str:
    what = "ping" if one.task is None else str(one.task)
    told = one.outcome or "-"
    error = f"  {printable(one.error)}" if one.error else ""
    return _LOG.format(str(one.id), one.state, instant(one.created_at), one.attempts, told, what + error)


def _detail(one: WebhookDeliveryDetail) -> Iterable[str]:
    yield f"{'id':<11} {one.id}"
    yield f"{'tells of':<11} {'nothing: a ping' if one.task is None else f'{one.task} ({one.outcome})'}"
    yield f"{'state':<11} {one.state}"
    if one.next_attempt_at is not None:
        yield f"{'next':<11} {instant(one.next_attempt_at)}"
    for each in one.log:
        seconds = "" if each.seconds is None else f" in {each.seconds:.3f} s"
        yield f"{'attempt':<11} {each.attempt} {instant(each.at)} {each.status or 'no answer'}{seconds}"
        if each.error:
            yield f"{'':<11} {printable(each.error)}"
        if each.answer:
            yield f"{'':<11} {printable(each.answer[:200])}"
