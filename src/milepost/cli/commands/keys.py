"""`milepost keys`: create, list, revoke."""

import asyncio
import re
from typing import Any, Final
from uuid import UUID

import click

from milepost.cli.output import instant, json_option, printable, write, write_json
from milepost.client import Client
from milepost_schemas.key import Key, NewKey, Scope

_ROW: Final = "{:<36}  {:<11}  {:<12}  {:<24}  {:<26}  {:<20}  {}"
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_tenant = click.option("--tenant", help="Another tenant's, with a key of the installation's own tenant.")


class _Span(click.ParamType[float]):
    """A duration: seconds, or a number with s, m, h or d."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return seconds."""
        found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([smhd]?)", str(value))
        if found is None or float(found[1]) == 0:
            self.fail(f"{value!r} is not a duration such as 3600, 12h or 90d.", param, ctx)
        return float(found[1]) * _UNITS[found[2] or "s"]


@click.group("keys")
def keys() -> None:
    """API keys: make one for each program, revoke it when it is needed no more. Takes a key with the scope admin."""


@keys.command()
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice([scope.value for scope in Scope]),
    help="May be repeated: submit, read.",
)
@click.option("--expires-in", type=_Span(), metavar="DURATION", help="Good for so long: 3600, 12h, 90d.")
@click.option("--tenant", help="Whose; another than your own is made if it is new.")
@json_option
def create(name: str, scopes: tuple[str, ...], expires_in: float | None, tenant: str | None, as_json: bool) -> None:
    """Make a key; NAME tells people whose it is. Writes the key, which is shown this once.

    Without --scope it may submit and read.
    """

    async def make() -> NewKey:
        async with Client() as client:
            return await client.keys.create(name, scopes=scopes or None, tenant=tenant, expires_in=expires_in)

    key = asyncio.run(make())
    if as_json:
        write_json(key)
        return
    until = f", until {instant(key.expires_at)}" if key.expires_at else ""
    click.echo(
        f"{key.prefix} of {key.tenant} may {', '.join(key.scopes)}{until}. Keep the key: it is not shown again.",
        err=True,
    )
    write(key.key)


@keys.command("list")
@_tenant
@click.option("--revoked", is_flag=True, help="Those too that are good no more.")
@json_option
def list_(tenant: str | None, revoked: bool, as_json: bool) -> None:
    """List keys, the newest first. JSON is one object a line."""

    async def read() -> list[Key]:
        async with Client() as client:
            return [key async for key in client.keys.list(tenant=tenant, revoked=revoked)]

    found = asyncio.run(read())
    if as_json:
        for key in found:
            write_json(key, line=True)
        return
    if not found:
        write("There are no keys but that in the settings." if tenant is None else "This tenant has no keys.")
        return
    write(_ROW.format("ID", "PREFIX", "TENANT", "NAME", "SCOPES", "LAST USED", "GOOD UNTIL"))
    for key in found:
        good = f"revoked {instant(key.revoked_at)}" if key.revoked_at else instant(key.expires_at) or "it is revoked"
        used = instant(key.last_used_at) or "never"
        row = (str(key.id), key.prefix, key.tenant, printable(key.name)[:24], " ".join(key.scopes), used, good)
        write(_ROW.format(*row))


@keys.command()
@click.argument("id_", metavar="ID|PREFIX")
@_tenant
@json_option
def revoke(id_: str, tenant: str | None, as_json: bool) -> None:
    """Revoke a key, by its id or the beginning that `keys list` shows. In 5 s at the latest it opens nothing."""

    async def take_back() -> Key:
        async with Client() as client:
            if not id_.startswith("mp_"):
                return await client.keys.revoke(_uuid(id_))
            found = [key async for key in client.keys.list(tenant=tenant) if id_.startswith(key.prefix)]
            if len(found) != 1:
                many = "No key" if not found else "More than one key"
                raise click.UsageError(f"{many} begins with {id_[:11]}. Take the id, as `milepost keys list` shows it.")
            return await client.keys.revoke(found[0].id)

    key = asyncio.run(take_back())
    if as_json:
        write_json(key)
    else:
        write(f"{key.prefix} ({printable(key.name)}) of {key.tenant} is revoked.")


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is neither the id nor the beginning of a key.", param_hint="ID") from None
