"""Where Postgres may run when we are root, which it refuses to be.

It then runs as an account without rights, which has to reach its programs and its data: both are placed
below /var/tmp if the checkout lies where that account cannot go, such as under /root.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pwd
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

from milepost.embedded.errors import EmbeddedError, Unsupported
from milepost.embedded.processes import Account

ACCOUNT = "nobody"
ELSEWHERE = Path("/var/tmp")  # noqa: S108 - a directory of our own in it, whose owner is checked


@dataclass(frozen=True)
class Place:
    """Who runs Postgres, from which programs, on which data directory (which may not exist yet)."""

    account: Account | None
    programs: Path
    data: Path


def find_place(home: Path, programs: Path) -> Place:
    """Return where to run Postgres for a home; makes the parents of the data directory.

    As an ordinary user: under the home. As root: under the home if the account can reach it, else below
    /var/tmp, with a link to it in the home.
    """
    data = home / "postgres"
    if os.geteuid() != 0:
        home.mkdir(parents=True, exist_ok=True)
        return Place(None, programs, data)
    account = _find_account()
    home.mkdir(parents=True, exist_ok=True)
    base = ELSEWHERE / f"milepost-{hashlib.sha256(str(home).encode()).hexdigest()[:16]}"
    if not reachable(programs / "postgres", account):
        programs = _copy_programs(programs, _claim(ELSEWHERE / "milepost-postgres"))
    if not reachable(home, account):
        data = _link(data, _claim(base) / "postgres")
    return Place(account, programs, data)


def own(data: Path, account: Account | None) -> None:
    """Make the data directory, readable by nobody but the one who runs Postgres."""
    data.mkdir(mode=0o700, exist_ok=True)
    if account is not None:
        os.chown(data, account.uid, account.gid)
    data.chmod(0o700)


def reachable(path: Path, account: Account) -> bool:
    """Whether the account may pass through a path and every directory above it."""
    return all(_may_pass(each.stat(), account) for each in (path, *path.resolve().parents))


def _may_pass(entry: os.stat_result, account: Account) -> bool:
    if entry.st_uid == account.uid:
        return bool(entry.st_mode & stat.S_IXUSR)
    if entry.st_gid == account.gid:
        return bool(entry.st_mode & stat.S_IXGRP)
    return bool(entry.st_mode & stat.S_IXOTH)


def _find_account() -> Account:
    try:
        entry = pwd.getpwnam(ACCOUNT)
    except KeyError as error:
        raise Unsupported(
            f"Postgres refuses to run as root and there is no account {ACCOUNT!r} to run it as. "
            "Run as an ordinary user, or add that account."
        ) from error
    return Account(entry.pw_uid, entry.pw_gid)


def _claim(directory: Path) -> Path:
    """Make a directory in a place anybody may write to, or make sure that it is ours."""
    with contextlib.suppress(FileExistsError):
        directory.mkdir(mode=0o711)
    entry = directory.lstat()
    if not stat.S_ISDIR(entry.st_mode) or entry.st_uid != os.geteuid():
        raise EmbeddedError(
            f"{directory} exists and does not belong to us, so Postgres cannot be kept there safely. Remove it, "
            f"or set MILEPOST_HOME to a directory that {ACCOUNT!r} can reach."
        )
    directory.chmod(0o711)
    return directory


def _copy_programs(programs: Path, into: Path) -> Path:
    """Copy Postgres, with the libraries it finds by relative path, to where the account can reach it.

    The copy is named by version and made beside its name, so that it is whole or absent.
    """
    package = programs.parent.parent
    libraries = package.with_name(f"{package.name}.libs")
    mark = hashlib.sha256(f"{programs}{(programs / 'postgres').stat().st_mtime_ns}".encode()).hexdigest()[:16]
    copy = into / mark
    result = copy / package.name / programs.parent.name / "bin"
    if not copy.exists():
        scratch = into / f".{mark}.{os.getpid()}"
        shutil.rmtree(scratch, ignore_errors=True)
        shutil.copytree(programs.parent, scratch / package.name / programs.parent.name, symlinks=True)
        if libraries.exists():
            shutil.copytree(libraries, scratch / libraries.name, symlinks=True)
        for directory in (scratch, scratch / package.name):
            directory.chmod(0o755)
        try:
            scratch.rename(copy)
        except OSError:
            shutil.rmtree(scratch, ignore_errors=True)
    return result


def _link(link: Path, target: Path) -> Path:
    """Let the home point at the data, and begin anew if the home no longer knows of it."""
    if link.is_symlink() and link.readlink() == target:
        return target
    if link.is_symlink():
        link.unlink()
    elif link.exists():
        raise EmbeddedError(
            f"{link} holds data, but {ACCOUNT!r}, as whom Postgres has to run, can no longer reach it. Make "
            f"the directories above it passable (chmod o+x), or move {link} away to begin anew."
        )
    # The home was removed and made again: what is left belongs to the one that is gone.
    shutil.rmtree(target, ignore_errors=True)
    link.symlink_to(target)
    return target
