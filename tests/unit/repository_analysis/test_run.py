"""A whole analysis of real repositories."""

from pathlib import Path

import pytest

from examples.repository_analysis.errors import AnalysisCancelled, TooLarge
from examples.repository_analysis.models import AnalyseRepository, Framework
from examples.repository_analysis.run import analyse_repository
from tests.unit.repository_analysis.helpers import commit, counts, git

TEST = "import pytest\n\ndef test_a(): ...\n\n@pytest.mark.skip\ndef test_b(): ...\n"
FILES: dict[str, str | bytes] = {
    "package.json": '{"devDependencies": {"vitest": "1"}}',
    "tests/test_a.py": TEST,
    "web/a.test.ts": "it.only('a', () => {})\n",
    "README.md": "# a\n",
    "broken_test.go": "package a\nfunc TestA(t *testing.T) {\n",
}


async def test_a_repository_is_analysed_with_progress_by_files(tmp_path: Path) -> None:
    made = commit(tmp_path, FILES)
    heard: list[tuple[int, int | None, str]] = []
    request = AnalyseRepository(repository=str(tmp_path))
    report = await analyse_repository(request, lambda *said: heard.append(said))
    assert (report.commit, report.repository, report.files, report.sources) == (made, str(tmp_path), 5, 3)
    assert {tally.framework for tally in report.frameworks} == {
        Framework.PYTEST,
        Framework.VITEST,
        Framework.GO,
    }
    assert counts(report) == {"files": 3, "cases": 4, "skipped": 1, "focused": 1}
    assert [problem.path for problem in report.problems.shown] == ["broken_test.go"]
    assert heard[0] == (0, None, "reading the commit")
    assert heard[1] == (0, 3, "reading the sources")
    assert heard[-1][:2] == (3, 3)


async def test_a_huge_file_is_left_out_and_listed(tmp_path: Path) -> None:
    commit(tmp_path, {"test_a.py": TEST, "test_huge.py": "def test_x(): ...\n" * 1000, "huge.bin": b"x" * 100_000})
    report = await analyse_repository(AnalyseRepository(repository=str(tmp_path), max_file_bytes=10_000))
    assert counts(report)["cases"] == 2
    assert [(p.path, p.problem) for p in report.problems.shown] == [
        ("test_huge.py", "18,000 bytes, left out (max_file_bytes)")
    ]


async def test_too_many_bytes_in_total_are_refused(tmp_path: Path) -> None:
    commit(tmp_path, {f"test_{n}.py": TEST for n in range(10)})
    with pytest.raises(TooLarge, match="more than 100"):
        await analyse_repository(AnalyseRepository(repository=str(tmp_path), max_bytes=100))


async def test_it_stops_between_two_files_when_asked(tmp_path: Path) -> None:
    commit(tmp_path, {f"test_{n:03}.py": TEST for n in range(100)})
    asked = False

    def progress(done: int, total: int | None, message: str) -> None:
        nonlocal asked
        del total, message
        asked = done > 0

    with pytest.raises(AnalysisCancelled, match="of 100 files"):
        await analyse_repository(AnalyseRepository(repository=str(tmp_path)), progress, lambda: asked)


async def test_a_missing_object_is_a_problem_of_its_file_only(tmp_path: Path) -> None:
    commit(tmp_path, {"test_a.py": TEST, "test_b.py": TEST + "\n"})
    blob = git(tmp_path, "rev-parse", "HEAD:test_b.py")
    (tmp_path / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    report = await analyse_repository(AnalyseRepository(repository=str(tmp_path)))
    assert counts(report)["cases"] == 2
    assert [(p.path, p.problem) for p in report.problems.shown] == [
        ("test_b.py", "its contents are missing from the repository")
    ]


async def test_a_name_that_is_not_utf8_can_be_reported(tmp_path: Path) -> None:
    commit(tmp_path, {"a": ""})
    (Path(str(tmp_path)) / "test_\udcff.py").write_bytes(TEST.encode())
    git(tmp_path, "add", "--all")
    git(tmp_path, "commit", "--quiet", "--message", "Odd")
    report = await analyse_repository(AnalyseRepository(repository=str(tmp_path)))
    assert report.skipped.shown[0].path == "test_\\xff.py"
    assert report.model_dump_json()
