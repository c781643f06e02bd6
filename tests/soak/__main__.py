"""`make soak MINUTES=30 SEED=1`: a steady load, one fault after the other, and an audit at the end.

The seed decides which faults come, for how long, and what is submitted. When each hits depends on the machine too.
"""

import argparse
import asyncio
import contextlib
import random
import secrets
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import orjson
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from pydantic import SecretStr

from milepost.embedded import Stack, temporary_home
from milepost.embedded.ports import Ports
from milepost.log import Topics
from milepost.log.connection import connection
from milepost.runtime.settings import Settings
from tests.conftest import API_KEY
from tests.scene import Scene, staged, wired
from tests.soak.faults import FAULTS, Breaker
from tests.soak.figures import as_json, lines
from tests.soak.happened import Happened, of_day
from tests.soak.mix import mixed
from tests.soak.take_overs import take_overs

DRAINED_WITHIN_S = 150.0
SAY_EVERY_S = 30.0
BATCH = 20


def say(text: str) -> None:
    """Print a line now."""
    print(text, flush=True)  # noqa: T201 - this is a command


async def soak(arguments: argparse.Namespace) -> int:
    """Run a soak; return the exit status."""
    seed = arguments.seed
    say(f"soak: seed {seed}, {arguments.minutes:g} minutes, {arguments.rate:g} tasks/s, {arguments.workers} workers")
    async with contextlib.AsyncExitStack() as held:
        home = held.enter_context(temporary_home("soak"))
        wires = await held.enter_async_context(wired())
        stack = await held.enter_async_context(Stack(home, ports=Ports(kafka_advertised=wires.kafka.port)))
        wires.connect(stack)
        settings = Settings.load(
            database_url=SecretStr(stack.database_url),
            kafka_bootstrap=stack.kafka_bootstrap,
            redis_url=SecretStr(stack.redis_url),
            api_key=SecretStr(API_KEY),
            home=home / "services",
            kafka_security_protocol="PLAINTEXT",
        )
        scene = await held.enter_async_context(
            staged(
                settings,
                stack,
                wires,
                workers=arguments.workers,
                notifiers=arguments.notifiers,
                watchers=2 * arguments.notifiers,
                tasks="tests.soak.tasks",
                env={"MILEPOST_CONCURRENCY": "100", "MILEPOST_DRAIN": "2", "MILEPOST_LOG_LEVEL": "info"},
            )
        )
        await _keep_events(settings)
        good = await _fire(scene, arguments)
        if not good:
            _keep_logs(home, seed)
    return 0 if good else 1


async def _fire(scene: Scene, arguments: argparse.Namespace) -> bool:
    loop = asyncio.get_running_loop()
    breaker = Breaker(scene, random.Random(arguments.seed), arguments.only)
    scene.load(arguments.rate, mixed, batch=BATCH, seed=arguments.seed)
    began = time.time()

    def tell(happened: Happened) -> None:
        lasted = happened.mended - happened.began
        say(f"{happened.began - began:6.0f} s  {happened}, {of_day(happened.began)}, mended after {lasted:.1f} s")

    telling = asyncio.create_task(_tell(scene, breaker))
    try:
        await breaker.run(loop.time() + arguments.minutes * 60, tell)
    finally:
        telling.cancel()
    say("the faults are over; waiting for every task and every client")
    verdict, facts = await scene.verify(DRAINED_WITHIN_S)
    taken = take_overs(breaker.happened, facts, time.time() - time.monotonic())
    text = [f"seed        {arguments.seed}", *lines(scene, breaker, facts, taken), "", verdict.text()]
    say("\n" + "\n".join(text))
    if arguments.json:
        figures = {"seed": arguments.seed, "faults": breaker.done, "counts": verdict.counts}
        figures |= as_json(breaker.happened, taken)
        await asyncio.to_thread(Path(arguments.json).write_bytes, orjson.dumps(figures))
    return verdict.good and not breaker.unexpected and not scene.refusals


async def _keep_events(settings: Settings) -> None:
    """Keep events for a day instead of an hour, so that the audit of a long soak can read them all."""
    admin: Any = AIOKafkaAdminClient(**connection(settings))
    await admin.start()
    try:
        kept = {"retention.ms": str(24 * 3600 * 1000)}
        topic = Topics(settings.topic_prefix).events
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs=kept)])
    finally:
        await admin.close()


async def _tell(scene: Scene, breaker: Breaker) -> None:
    began = asyncio.get_running_loop().time()
    while True:
        await asyncio.sleep(SAY_EVERY_S)
        seconds = asyncio.get_running_loop().time() - began
        open_ = sum(watcher.open for watcher in scene.watchers)
        say(
            f"{seconds:6.0f} s  {len(scene.record.accepted):,} tasks accepted, {breaker.done.total()} faults,"
            f" {open_} watches open"
        )


def _keep_logs(home: Path, seed: int) -> None:
    kept = Path(".milepost") / f"soak-{seed}"
    shutil.rmtree(kept, ignore_errors=True)
    for folder in (home / "log", home / "services" / "log"):
        if folder.exists():
            shutil.copytree(folder, kept / folder.parent.name)
    say(f"the logs are kept in {kept}")


def main() -> int:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--seed", type=int, default=None, help="default: a new one, which is printed")
    parser.add_argument("--rate", type=float, default=65, help="tasks a second")
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--notifiers", type=int, default=2)
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        choices=sorted(FAULTS),
        metavar="FAULT",
        help="mix only this fault, and others named in the same way: " + ", ".join(sorted(FAULTS)),
    )
    parser.add_argument("--json", help="write figures to this file, too")
    arguments = parser.parse_args()
    if arguments.seed is None:
        arguments.seed = secrets.randbelow(10**6)
    Settings.model_config["env_file"] = None
    return asyncio.run(soak(arguments))


if __name__ == "__main__":
    sys.exit(main())
