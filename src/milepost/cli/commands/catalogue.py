"""`milepost types` and `milepost workers`."""

import asyncio
from collections.abc import Sequence

import click

from milepost.cli.output import instant, json_option, printable, span, write, write_json
from milepost.client import Client
from milepost_schemas.worker import TypeInfo, WorkerInfo

_TYPE = "{:<28}  {:<16}  {:>7}  {:>8}  {:>10}  {}"
_WORKER = "{:<24}  {:<20}  {:>7}  {:>9}  {:<20}  {}"


@click.command()
@json_option
def types(as_json: bool) -> None:
    """List task types, as workers announced them. JSON is one object a line, with the schemas."""

    async def read() -> Sequence[TypeInfo]:
        async with Client() as client:
            return await client.types()

    found = asyncio.run(read())
    if as_json:
        for info in found:
            write_json(info, line=True)
        return
    if not found:
        write("No worker has announced a type yet. Start one with: milepost worker --tasks your.module")
        return
    write(_TYPE.format("TYPE", "QUEUE", "WORKERS", "ATTEMPTS", "TIMEOUT", "").rstrip())
    for info in found:
        timeout = "" if info.timeout is None else span(info.timeout)
        about = printable((info.description or "").partition("\n")[0])
        write(_TYPE.format(info.type, info.queue, info.workers, info.max_attempts, timeout, about).rstrip())


@click.command()
@json_option
def workers(as_json: bool) -> None:
    """List live workers. JSON is one object a line."""

    async def read() -> Sequence[WorkerInfo]:
        async with Client() as client:
            return await client.workers()

    found = asyncio.run(read())
    if as_json:
        for worker in found:
            write_json(worker, line=True)
        return
    if not found:
        write("No worker is alive; tasks wait. Start one with: milepost worker --tasks your.module")
        return
    write(_WORKER.format("NAME", "HOST", "PID", "BUSY", "STARTED", "QUEUES"))
    for worker in found:
        busy = f"{worker.running}/{worker.slots}" + (" drains" if worker.draining else "")
        queues = ", ".join(worker.queues)
        row = _WORKER.format(worker.name, worker.host, worker.pid, busy, instant(worker.started_at) or "", queues)
        write(printable(row).rstrip())
