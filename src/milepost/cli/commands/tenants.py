"""`milepost tenants`: list, set."""

import asyncio
from typing import Final

import click

from milepost.cli.output import instant, json_option, write, write_json
from milepost.client import Client
from milepost_schemas.tenant import Tenant

_ROW: Final = "{:<24}  {:<20}  {:<22}  {:>12}  {:>16}"


@click.group("tenants")
def tenants() -> None:
    """Tenants and their quotas. Takes a key of the installation's own tenant with the scope admin."""


@tenants.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List tenants that were given a key or quotas, by name. JSON is one object a line."""

    async def read() -> list[Tenant]:
        async with Client() as client:
            return [tenant async for tenant in client.tenants.list()]

    found = asyncio.run(read())
    if as_json:
        for tenant in found:
            write_json(tenant, line=True)
        return
    if not found:
        write("No tenant was given a key or quotas yet.")
        return
    write(_ROW.format("NAME", "CREATED", "REQUESTS", "QUEUED", "QUEUED BYTES"))
    for tenant in found:
        _write_row(tenant)


@tenants.command("set")
@click.argument("name")
@click.option("--requests", type=click.IntRange(1), help="At once; they come back bit by bit.")
@click.option("--per", type=click.FloatRange(1), metavar="SECONDS", help="All of them in so long; 60 unless given.")
@click.option("--queued", type=click.IntRange(0), help="Tasks that may wait.")
@click.option("--queued-bytes", type=click.IntRange(0), help="Bytes of their payloads.")
@json_option
def set_(
    name: str, requests: int | None, per: float | None, queued: int | None, queued_bytes: int | None, as_json: bool
) -> None:
    """Set what a tenant may take: all of it. What is left out is as the settings of the api say."""

    async def change() -> Tenant:
        async with Client() as client:
            return await client.tenants.set(
                name, requests=requests, requests_per=per, queued=queued, queued_bytes=queued_bytes
            )

    tenant = asyncio.run(change())
    if as_json:
        write_json(tenant)
    else:
        write(_ROW.format("NAME", "CREATED", "REQUESTS", "QUEUED", "QUEUED BYTES"))
        _write_row(tenant)


def _write_row(tenant: Tenant) -> None:
    quotas = tenant.quotas
    requests = "any" if quotas.requests is None else f"{quotas.requests:,} in {quotas.requests_per:g} s"
    queued, size = ("any" if most is None else f"{most:,}" for most in (quotas.queued, quotas.queued_bytes))
    write(_ROW.format(tenant.name, instant(tenant.created_at) or "", requests, queued, size))
