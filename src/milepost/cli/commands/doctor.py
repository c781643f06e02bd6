"""`milepost doctor`: is everything there, and if not, what to do."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import click
import orjson

from milepost.cli.examine.finding import Finding
from milepost.cli.exits import Exit
from milepost.cli.here import settings_here
from milepost.cli.output import json_option, write, write_json
from milepost.client import Client
from milepost.client.address import find_address
from milepost.errors import MilepostError
from milepost.runtime.settings import Settings

PATIENCE_S = 12.0


@click.command()
@json_option
def doctor(as_json: bool) -> Exit:
    """Check settings, Postgres, Kafka, Redis, services, lag, leftovers and clocks. Exits with 3 if one fails."""
    settings = settings_here()
    findings = asyncio.run(examine(settings))
    if as_json:
        rows = [finding._asdict() for finding in findings]
        write_json({"ok": all(finding.ok for finding in findings), "checks": rows})
    else:
        for finding in findings:
            write(f"{'ok    ' if finding.ok else 'FAILED'}  {finding.name:<9} {finding.detail}")
            if finding.advice and not finding.ok:
                write(f"        {'':<9} → {finding.advice}")
    return Exit.DONE if all(finding.ok for finding in findings) else Exit.UNREACHABLE


async def examine(settings: Settings) -> list[Finding]:
    """Look at everything at once."""
    checks: dict[str, Callable[[Settings], Awaitable[Finding | list[Finding]]]] = {
        "settings": _settings,
        "postgres": _postgres,
        "kafka": _kafka,
        "redis": _redis,
        "api": _api,
        "notifier": _notifier,
        "workers": _workers,
    }
    found = await asyncio.gather(*(_bounded(name, check(settings)) for name, check in checks.items()))
    return [finding for findings in found for finding in findings]


async def _bounded(name: str, check: Awaitable[Finding | list[Finding]]) -> list[Finding]:
    advice = _ADVICE.get(name)
    try:
        async with asyncio.timeout(PATIENCE_S):
            found = await check
    except TimeoutError:
        detail, advice = (
            f"no answer within {PATIENCE_S:g} s",
            "Is it overloaded, cut off, or (Postgres) is a table locked?",
        )
    except ImportError as error:
        detail, advice = f"{error.name} is not installed", "pip install 'milepost[service]'"
    except MilepostError as error:
        detail = str(error)
    except (OSError, aiohttp.ClientError) as error:
        detail = f"does not answer: {error}"
    else:
        return found if isinstance(found, list) else [found]
    return [Finding(name, ok=False, detail=detail, advice=advice)]


_START = "start everything on this machine with `milepost dev`, or "
_ADVICE = {
    "settings": "Set it as said, in the environment or in .env.",
    "postgres": f"To mend it: {_START}point MILEPOST_DATABASE_URL at a Postgres ≥ 14.",
    "kafka": f"To mend it: {_START}point MILEPOST_KAFKA_BOOTSTRAP at a broker.",
    "redis": f"To mend it: {_START}point MILEPOST_REDIS_URL at a Redis or Valkey.",
    "api": f"To mend it: {_START}run `milepost api`, and check MILEPOST_URL.",
    "notifier": f"To mend it: {_START}run `milepost notifier`.",
    "workers": f"To mend it: {_START}run `milepost worker --tasks your.module`.",
}


async def _settings(settings: Settings) -> Finding:
    find_address()
    given = sorted(f"MILEPOST_{name.upper()}" for name in settings.model_fields_set)
    return Finding("settings", ok=True, detail=f"valid; set: {', '.join(given) or 'none, all defaults'}")


async def _postgres(settings: Settings) -> list[Finding]:
    from milepost.cli.examine.postgres import examine_postgres

    return await examine_postgres(settings)


async def _kafka(settings: Settings) -> list[Finding]:
    from milepost.cli.examine.kafka import examine_kafka

    return await examine_kafka(settings, _ADVICE["kafka"])


async def _redis(settings: Settings) -> Finding:
    from redis.exceptions import RedisError

    from milepost.live.connection import connect

    redis = connect(settings)
    try:
        await redis.ping()
        info = await redis.info("server")
    except RedisError as error:
        return Finding("redis", ok=False, detail=f"does not answer: {error}", advice=_ADVICE["redis"])
    finally:
        await redis.aclose()
    return Finding("redis", ok=True, detail=f"Redis {info.get('redis_version')} answers")


async def _api(settings: Settings) -> Finding:
    return await _ready("api", f"{settings.url.rstrip('/')}/v1/readyz")


async def _notifier(settings: Settings) -> Finding:
    host = "127.0.0.1" if settings.host in {"0.0.0.0", "::"} else settings.host  # noqa: S104 - not bound to
    return await _ready("notifier", f"http://{host}:{settings.notifier_http_port}/readyz")


async def _ready(name: str, url: str) -> Finding:
    timeout = aiohttp.ClientTimeout(total=6)
    async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as response:
        body = await response.read()
    try:
        report = orjson.loads(body)
        rows = report.get("checks") or report.get("dependencies") or {}
        unwell = [_unwell(key, row) for key, row in rows.items() if not row.get("ok")]
        status = report.get("status")
    except (orjson.JSONDecodeError, AttributeError):
        return Finding(name, ok=False, detail=f"{url} is something else", advice="Another program has this port.")
    detail = f"{url}: {status}" + (f" ({'; '.join(unwell)})" if unwell else "")
    return Finding(name, ok=response.status == 200, detail=detail, advice="Mend what is named, then look again.")


def _unwell(name: str, row: dict[str, Any]) -> str:
    since = f" since {row['since'][:19]}Z" if isinstance(row.get("since"), str) else ""
    return f"{name}{since}: {row.get('detail')}"


async def _workers(settings: Settings) -> Finding:
    key = settings.api_key.get_secret_value() if settings.api_key else None
    async with Client(settings.url, key, repeat_for=0.0) as client:
        workers = await client.workers()
    if not workers:
        return Finding("workers", ok=False, detail="none is alive; tasks wait", advice=_ADVICE["workers"])
    slots, running = sum(w.slots for w in workers), sum(w.running for w in workers)
    queues = sorted({queue for worker in workers for queue in worker.queues})
    return Finding(
        "workers", ok=True, detail=f"{len(workers)} alive, {running} of {slots} slots busy; {', '.join(queues)}"
    )
