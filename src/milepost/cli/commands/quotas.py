"""`milepost quotas`: what the tenant may take, and what of it is taken."""

import asyncio
from typing import Final

import click

from milepost.cli.output import json_option, write, write_json
from milepost.client import Client
from milepost_schemas.tenant import OwnQuotas

_ROW: Final = "{:<14}  {:>16}  {:<22}"


@click.command("quotas")
@json_option
def quotas(as_json: bool) -> None:
    """Show what your tenant may take, and what of it is taken."""

    async def read() -> OwnQuotas:
        async with Client() as client:
            return await client.quotas()

    own = asyncio.run(read())
    if as_json:
        write_json(own)
        return
    may, used = own.quotas, own.used
    requests = None if may.requests is None else f"{may.requests:,} in {may.requests_per:g} s"
    queued, size = (None if most is None else f"{most:,}" for most in (may.queued, may.queued_bytes))
    write(_ROW.format("QUOTA", "TAKEN", "OF").rstrip())
    for name, taken, of in (
        ("requests", used.requests, requests),
        ("queued", used.queued, queued),
        ("queued bytes", used.queued_bytes, size),
    ):
        if of is None:
            write(_ROW.format(name, "-", "any").rstrip())
        else:
            write(_ROW.format(name, "unknown" if taken is None else f"{taken:,}", of).rstrip())
