"""Real servers for the tests that need them, started once for the whole run."""

import asyncio
import itertools
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import hypothesis
import pytest
from pydantic import SecretStr

from milepost.embedded import Stack, temporary_home
from milepost.runtime.settings import Settings
from tests.secrets import found_in_files

API_KEY = "mp_test_3f1c9a"

# What somebody has set for a stack of their own in this checkout is not for tests.
Settings.model_config["env_file"] = None

# How long an example takes says how busy the machine is, not whether the code is right.
hypothesis.settings.register_profile("milepost", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("milepost")

# What a shell starts in the background ignores Ctrl-C, and so would processes that tests send it to.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

MakeSettings = Callable[..., Awaitable[Settings]]


@asynccontextmanager
async def started_stack(**options: Any) -> AsyncIterator[Stack]:
    """Run servers in a home of their own, which is gone afterwards."""
    with temporary_home("tests") as home:
        async with Stack(home, **options) as running:
            yield running
            known = {
                API_KEY,
                *filter(None, (urlsplit(url).password for url in (running.database_url, running.redis_url))),
            }
        found = found_in_files((home / "log").glob("*.log"), known)
        assert not found, "secrets are in the logs of the servers:\n" + "\n".join(found)


@pytest.fixture(scope="session")
async def stack() -> AsyncIterator[Stack]:
    """Kafka, Postgres and Redis, shared by all tests: leave them running and take a `fresh` corner of each."""
    async with started_stack() as running:
        yield running


@pytest.fixture(scope="session")
def fresh(stack: Stack) -> MakeSettings:
    """Make settings with a database, a topic prefix and a Redis database of their own."""
    return corners_of(stack)


def corners_of(stack: Stack) -> MakeSettings:
    """Return what makes settings for fresh corners of these servers."""
    numbers = itertools.count(1)

    async def make(**overrides: object) -> Settings:
        number = next(numbers)
        admin = await asyncpg.connect(stack.postgres.admin_url)
        try:
            await admin.execute(f"create database test_{number} owner milepost")
        finally:
            await admin.close()
        values: dict[str, object] = {
            "database_url": SecretStr(stack.database_url.rpartition("/")[0] + f"/test_{number}"),
            "kafka_bootstrap": stack.kafka_bootstrap,
            "redis_url": SecretStr(stack.redis_url.rstrip("/").removesuffix("/0") + f"/{number % 16}"),
            "topic_prefix": f"test{number}",
            "api_key": SecretStr(API_KEY),
            "home": stack.home / f"home-{number}",
            "log_level": "info",
        }
        return Settings.load(**(values | overrides))

    return make


async def eventually(check: Callable[[], Awaitable[bool]], what: str, within_s: float = 20.0) -> None:
    """Return as soon as `check` holds; fails, saying what was waited for, when it does not within the bound."""
    try:
        async with asyncio.timeout(within_s):
            while not await check():
                await asyncio.sleep(0.02)
    except TimeoutError:
        pytest.fail(f"waited {within_s:g} s in vain for: {what}")
