"""Reading a commit from real repositories, none of which gets to write or run anything."""

import contextlib
import os
import shutil
from pathlib import Path

import pytest

from examples.repository_analysis.checkout import open_checkout
from examples.repository_analysis.errors import (
    BrokenRepository,
    EmptyRepository,
    NotARepository,
    TooLarge,
    UnknownRef,
)
from examples.repository_analysis.models import AnalyseRepository
from tests.unit.repository_analysis.helpers import commit, git


async def read(repository: Path | str, **asked: object) -> dict[str, bytes | None]:
    """The contents of all the files of a commit."""
    request = AnalyseRepository.model_validate({"repository": str(repository)} | asked)
    async with open_checkout(request) as checkout:
        return {entry.path: data async for entry, data in checkout.read(checkout.entries)}


async def test_the_files_of_a_commit_are_read_and_nothing_uncommitted(tmp_path: Path) -> None:
    commit(tmp_path, {"a.py": "a", "dir/b c.py": b"\x00\n\xff", "empty": ""})
    (tmp_path / "a.py").write_text("changed")
    (tmp_path / "new.py").write_text("new")
    assert await read(tmp_path) == {"a.py": b"a", "dir/b c.py": b"\x00\n\xff", "empty": b""}


async def test_a_ref_may_be_a_branch_a_tag_or_a_commit(tmp_path: Path) -> None:
    first = commit(tmp_path, {"a": "1"})
    git(tmp_path, "tag", "--annotate", "--message", "one", "v1")
    git(tmp_path, "branch", "old/line")
    commit(tmp_path, {"a": "2"})
    for ref in ("v1", "old/line", first, first[:10], "HEAD~1"):
        assert await read(tmp_path, ref=ref) == {"a": b"1"}
    assert await read(tmp_path) == {"a": b"2"}


async def test_more_files_than_a_pipe_holds_are_read(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {f"{n}.txt": bytes([n % 256]) * 5000 for n in range(300)}
    commit(tmp_path, files)
    assert await read(tmp_path) == files


async def test_what_the_report_says_of_the_commit_comes_from_the_commit(tmp_path: Path) -> None:
    made = commit(tmp_path, {"a": "1"}, "Subject\n\nBody")
    async with open_checkout(AnalyseRepository(repository=str(tmp_path))) as checkout:
        assert (checkout.commit, checkout.subject) == (made, "Subject")
        assert checkout.committed_at is not None


async def test_bare_repositories_worktrees_and_file_urls_are_read(tmp_path: Path) -> None:
    commit(tmp_path / "a", {"a": "1"})
    git(tmp_path, "clone", "--quiet", "--bare", "a", "bare.git")
    git(tmp_path / "a", "worktree", "add", "--quiet", "../tree", "-b", "other")
    for address in (tmp_path / "bare.git", tmp_path / "tree", tmp_path / "a" / ".git", f"file://{tmp_path}/a"):
        assert await read(address) == {"a": b"1"}


async def test_a_repository_without_commits_is_empty(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    (tmp_path / "uncommitted.py").write_text("x")
    with pytest.raises(EmptyRepository, match="no commits yet"):
        await read(tmp_path)


async def test_an_empty_commit_has_no_files(tmp_path: Path) -> None:
    commit(tmp_path, {})
    assert await read(tmp_path) == {}


@pytest.mark.parametrize("ref", ["no-such-branch", "f" * 40, "HEAD~99", "HEAD^{tree}"])
async def test_an_unknown_ref_is_told(tmp_path: Path, ref: str) -> None:
    commit(tmp_path, {"a": "1"})
    with pytest.raises(UnknownRef, match="no commit called"):
        await read(tmp_path, ref=ref)


async def test_a_plain_directory_is_not_a_repository_even_inside_of_one(tmp_path: Path) -> None:
    commit(tmp_path, {"inside/a": "1"})
    for path in (tmp_path / "inside", tmp_path / "nowhere", tmp_path / "inside" / "a"):
        with pytest.raises(NotARepository):
            await read(path)


async def test_a_symbolic_link_is_never_followed(tmp_path: Path) -> None:
    (tmp_path / "secret.py").write_text("password")
    repository = tmp_path / "a"
    repository.mkdir()
    (repository / "link.py").symlink_to(tmp_path / "secret.py")
    (repository / "dir").symlink_to(tmp_path)
    commit(repository, {"a.py": "1"})
    assert await read(repository) == {"a.py": b"1"}


async def test_submodules_are_left_out(tmp_path: Path) -> None:
    commit(tmp_path / "inner", {"b": "1"})
    commit(tmp_path / "outer", {"a": "1"})
    allowed = ("-c", "protocol.file.allow=always")
    git(tmp_path / "outer", *allowed, "submodule", "--quiet", "add", str(tmp_path / "inner"), "sub")
    git(tmp_path / "outer", "commit", "--quiet", "--message", "Add a submodule")
    assert set(await read(tmp_path / "outer")) == {"a", ".gitmodules"}


async def test_too_many_files_stop_the_listing(tmp_path: Path) -> None:
    commit(tmp_path, {f"{n}": "" for n in range(11)})
    with pytest.raises(TooLarge, match="more than 10 files"):
        await read(tmp_path, max_files=10)


async def test_settings_and_hooks_of_the_repository_run_nothing(tmp_path: Path) -> None:
    repository, owned = tmp_path / "a", tmp_path / "owned"
    commit(repository, {"a.py": "1", ".gitattributes": "* filter=evil diff=evil\n"})
    for key in ("core.fsmonitor", "core.pager", "core.sshCommand", "gpg.program", "filter.evil.smudge"):
        git(repository, "config", key, f"touch {owned};")
    git(repository, "config", "log.showSignature", "true")
    git(repository, "config", "core.hooksPath", str(tmp_path / "hooks"))
    assert (await read(repository))["a.py"] == b"1"
    assert not owned.exists()


async def test_a_partial_clone_fetches_nothing_through_its_own_remote(tmp_path: Path) -> None:
    repository, owned = tmp_path / "a", tmp_path / "owned"
    commit(repository, {"a.py": "1"})
    blob = git(repository, "rev-parse", "HEAD:a.py")
    git(repository, "config", "extensions.partialClone", "origin")
    git(repository, "config", "core.repositoryFormatVersion", "1")
    git(repository, "config", "remote.origin.promisor", "true")
    git(repository, "config", "remote.origin.url", f"ext::sh -c touch% {owned}")
    git(repository, "config", "protocol.ext.allow", "always")
    (repository / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    with contextlib.suppress(BrokenRepository):  # it depends on git's version whether it goes on
        assert await read(repository) == {"a.py": None}
    assert not owned.exists()


async def test_an_object_that_is_gone_between_listing_and_reading_is_missing(tmp_path: Path) -> None:
    commit(tmp_path, {"a.py": "1", "b.py": "2"})
    blob = git(tmp_path, "rev-parse", "HEAD:a.py")
    async with open_checkout(AnalyseRepository(repository=str(tmp_path))) as checkout:
        (tmp_path / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
        contents = [data async for _, data in checkout.read(checkout.entries)]
    assert contents == [None, b"2"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
async def test_a_checkout_of_another_user_is_read(tmp_path: Path) -> None:
    commit(tmp_path, {"a": "1"})
    for directory, _, names in os.walk(tmp_path):
        for name in (".", *names):
            shutil.chown(Path(directory) / name, 12345, 12345)
    assert await read(tmp_path) == {"a": b"1"}
