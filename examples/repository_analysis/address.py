"""Repository addresses and refs: what may be handed to git, and how an address is shown to people.

Git reads `ext::sh -c …` as a command to run and an argument that begins with a dash as an option, so a
value is accepted only if it has one of the few forms known to be harmless (gitremote-helpers(7), git-clone(1)).
"""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from examples.repository_analysis.errors import RefusedRepository

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SCP = re.compile(r"[A-Za-z0-9_][\w.-]*@(?P<host>[A-Za-z0-9][A-Za-z0-9.-]*):(?P<path>[^-\s:][^\s]*)")
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*|[0-9a-fA-F:.]+")
_SCHEME = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://")
_CREDENTIALS = re.compile(r"(?<=://)[^/\s@']+@")
_REF = re.compile(r"[^\s:?*\[\\\x00-\x1f\x7f-]([^\s:?*\[\\\x00-\x1f\x7f])*")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a repository is: `path` on this machine, or else the `url` of a remote."""

    url: str | None = None
    path: Path | None = None

    @property
    def shown(self) -> str:
        """The address without credentials."""
        return without_credentials(self.url) if self.url else str(self.path)


def parse_address(repository: str) -> Address:
    """Tell a path from a URL.

    Raises RefusedRepository for every form that could make git run a command or read an option.
    """
    if _CONTROL.search(repository):
        raise RefusedRepository("The repository's address has control characters; remove them.")
    if repository.startswith("-"):
        raise RefusedRepository("The repository's address begins with a dash; write ./-name for such a path.")
    if "::" in repository.partition("/")[0]:
        raise RefusedRepository("Git's transport helpers (name::address) are refused; use https or ssh.")
    if scheme := _SCHEME.match(repository):
        return _parse_url(repository, scheme["scheme"].lower())
    if _SCP.fullmatch(repository):
        return Address(url=repository)
    return Address(path=Path(repository))


def _parse_url(url: str, scheme: str) -> Address:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError as error:
        raise RefusedRepository(f"The repository's URL is malformed: {error}.") from error
    if scheme == "file":
        if host not in {"", "localhost"}:
            raise RefusedRepository("A file:// URL names a path of this machine: file:///path/to/repository.")
        return Address(path=Path(_checked_path(unquote(parts.path))))
    if scheme not in {"https", "ssh"}:
        raise RefusedRepository(f"{scheme}:// is refused; use https://, ssh://, git@host:path or file://.")
    if not _HOST.fullmatch(host) or (parts.username or "").startswith("-"):
        raise RefusedRepository("The repository's URL has no valid host name.")
    if parts.path.lstrip("/").startswith("-"):
        raise RefusedRepository("The path in the repository's URL begins with a dash.")
    return Address(url=url)


def _checked_path(path: str) -> str:
    if not path.startswith("/") or _CONTROL.search(path):
        raise RefusedRepository("A file:// URL needs an absolute path without control characters.")
    return path


def check_ref(ref: str) -> None:
    """Refuse a ref that git could read as an option, a range, a path or a pattern (git-check-ref-format(1))."""
    if not _REF.fullmatch(ref) or ".." in ref:
        raise RefusedRepository("The ref is not the name of a branch, a tag or a commit.")


def without_credentials(text: str) -> str:
    """The text with the user and password of every URL in it removed."""
    return _CREDENTIALS.sub("", text)
