"""One database and one API for all tests of it; Kafka is away unless a test says otherwise."""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import uuid_utils.compat as uuids
from pydantic import SecretStr

from milepost.runtime.settings import Settings
from milepost.store import NewTask, Store, migrate, open_pool
from milepost.store.connection import Pool
from milepost_schemas import Priority
from tests.conftest import MakeSettings, eventually
from tests.integration.api.serving import COUNT, FREE, KEY, NOBODY, Accepts, Answer, Api, served


@pytest.fixture(scope="package")
async def settings(fresh: MakeSettings) -> Settings:
    made = await fresh(
        kafka_bootstrap=NOBODY,
        api_key=SecretStr(KEY),
        allowed_origins=["https://app.example"],
        stream_url="wss://stream.example/v1/stream",
    )
    await migrate(made)
    return made


@pytest.fixture(scope="package")
async def pool(settings: Settings) -> AsyncIterator[Pool]:
    opened = await open_pool(settings, "test")
    yield opened
    await opened.close()


@pytest.fixture(scope="package")
async def store(pool: Pool) -> Store:
    made = Store(pool)
    await made.announce([COUNT, FREE])
    return made


@pytest.fixture(scope="package")
async def api(settings: Settings, store: Store) -> AsyncIterator[Api]:
    del store  # only its types
    async with served(settings) as running:
        yield running


@pytest.fixture(scope="package")
async def foreign(store: Store) -> str:
    """Store a task of another tenant and give its id."""
    task = NewTask(uuids.uuid7(), "other", "demo.free", "default", Priority.NORMAL, 1, '{"whose": "theirs"}')
    await store.submit([task])
    return str(task.id)


@pytest.fixture
def eventually_accepts() -> Accepts:
    """Repeat a submission until it is accepted."""

    async def wait(submit: Callable[[], Awaitable[Answer]]) -> None:
        async def accepted() -> bool:
            return (await submit()).status == 202

        await eventually(accepted, "202")

    return wait
