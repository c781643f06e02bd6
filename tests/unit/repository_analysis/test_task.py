"""The task type, run as a worker runs it but without one."""

from pathlib import Path
from uuid import UUID

import pytest

from examples.repository_analysis import AnalyseRepository, analyse
from examples.repository_analysis import task as module
from examples.repository_analysis.errors import CannotFetch
from milepost import Cancelled, Context, Permanent
from tests.unit.repository_analysis.helpers import commit


def context(heard: list[tuple[float, float | None, str | None, str | None]] | None = None) -> Context:
    """A context that keeps what it is told."""
    heard = [] if heard is None else heard
    return Context(
        id=UUID(int=1),
        type="repository.analyse",
        queue="analysis",
        tenant="t",
        attempt=1,
        max_attempts=3,
        _sink=lambda *said: heard.append(said),
    )


async def test_it_reports_and_tells_its_progress_in_files(tmp_path: Path) -> None:
    commit(tmp_path, {"test_a.py": "def test_a(): ...\n"})
    heard: list[tuple[float, float | None, str | None, str | None]] = []
    running = context(heard)
    report = await analyse(running, AnalyseRepository(repository=str(tmp_path)))
    running.flush(final=True)
    assert report.total.cases == 1
    assert heard[-1] == (1, 1, "files", ".")


async def test_what_a_retry_cannot_mend_is_permanent(tmp_path: Path) -> None:
    commit(tmp_path, {"a": ""})
    for asked in ({"repository": str(tmp_path), "ref": "no"}, {"repository": str(tmp_path / "no")}):
        with pytest.raises(Permanent, match="no"):
            await analyse(context(), AnalyseRepository.model_validate(asked))


async def test_a_network_failure_may_be_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object) -> None:
        raise CannotFetch("gone")

    monkeypatch.setattr(module, "analyse_repository", fail)
    with pytest.raises(CannotFetch):
        await analyse(context(), AnalyseRepository(repository="https://example.org/a"))


async def test_it_ends_as_cancelled_when_asked_to_stop(tmp_path: Path) -> None:
    commit(tmp_path, {"test_a.py": "def test_a(): ...\n"})
    running = context()
    running.cancel()
    with pytest.raises(Cancelled):
        await analyse(running, AnalyseRepository(repository=str(tmp_path)))
