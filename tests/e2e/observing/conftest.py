"""One system for the tests of this folder: its spans are received, and the database keeps a journal of all moves."""

from collections.abc import AsyncIterator

import pytest

from milepost.audit.read_store import install_journal
from milepost.store import migrate
from tests.collecting import collecting
from tests.conftest import MakeSettings
from tests.otlp import Receiver, receiving
from tests.system import System, running


@pytest.fixture(scope="package")
async def receiver() -> AsyncIterator[Receiver]:
    """Where spans end up."""
    async with receiving() as opened:
        yield opened


@pytest.fixture(scope="package")
async def system(
    fresh: MakeSettings, receiver: Receiver, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[System]:
    """An api, two workers and a notifier."""
    async with collecting(receiver, tmp_path_factory.mktemp("otelcol")) as url:
        env = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": url,
            "OTEL_BSP_SCHEDULE_DELAY": "100",
            "MILEPOST_RETRY_BASE": "0.05",
            "MILEPOST_DRAIN": "0.2",
        }
        settings = await fresh()
        await migrate(settings)
        await install_journal(settings.database_url.get_secret_value())
        async with running(settings, workers=2, env=env, tasks="tests.traced_tasks,tests.tasks") as started:
            yield started
