"""Where the API is, and the key to it."""

import shlex
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from milepost.errors import SettingsError
from milepost.runtime.settings import Settings

KEY_FILE = "key"
ENVIRONMENT_FILE = Path("run", "env")


@dataclass(frozen=True, slots=True)
class Address:
    """The API's base URL, without a slash at the end; the key; the stream's URL if it is known beforehand."""

    url: str
    key: str = field(repr=False)
    stream_url: str | None = None

    @property
    def local(self) -> bool:
        """Whether it is on this machine."""
        return _is_local(self.url)


def find_address(url: str | None = None, key: str | None = None, *, keyless: bool = False) -> Address:
    """Return the address to use: what is given, then MILEPOST_*, then what a stack in MILEPOST_HOME left there.

    The key file of a home is only used for an API on this machine. Raises SettingsError without a key, unless
    `keyless`: then nobody looks for one.
    """
    settings = Settings.load()
    running = running_environment(settings.home)
    given = settings.model_fields_set
    stream_url = None
    if "stream_url" in given:
        stream_url = settings.stream_url
    elif url is None and "url" not in given:
        stream_url = running.get("MILEPOST_STREAM_URL", settings.stream_url)
    if url is None:
        url = settings.url if "url" in given else running.get("MILEPOST_URL", settings.url)
    url = _checked(url)
    if keyless:
        return Address(url, "", stream_url)
    if key is None and settings.api_key is not None:
        key = settings.api_key.get_secret_value()
    if key is None and _is_local(url):
        key = read_key(settings.home)
    if not key:
        raise SettingsError(
            f"There is no key for {url}. Set MILEPOST_API_KEY or pass key=…; `milepost dev` makes one for a stack on "
            f"this machine and leaves it in {settings.home / KEY_FILE} of the folder it was started in: stand "
            "there, or set MILEPOST_HOME."
        )
    return Address(url, key, stream_url)


def read_key(home: Path) -> str | None:
    """Return the development key of a home; None if there is none."""
    try:
        return (home / KEY_FILE).read_text(encoding="ascii").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def running_environment(home: Path) -> dict[str, str]:
    """Return the MILEPOST_* variables of the stack that runs in a home; empty if none does."""
    try:
        text = (home / ENVIRONMENT_FILE).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return {}
    return parse_environment(text)


def parse_environment(text: str) -> dict[str, str]:
    """Return the variables of lines `export NAME=value` as a shell would set them; other lines are left out."""
    found = {}
    for line in text.splitlines():
        try:
            words = shlex.split(line, comments=True)
        except ValueError:
            continue
        if words and words[0] == "export":
            words = words[1:]
        if len(words) == 1 and "=" in words[0]:
            name, _, value = words[0].partition("=")
            found[name] = value
    return found


def _checked(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise SettingsError(f"{url!r} is not the address of an API. Write it like http://127.0.0.1:8000.")
    url = url.rstrip("/")
    if url.endswith("/v1"):
        raise SettingsError(f"{url!r} is the address of an API and /v1, which clients add. Write {url[:-3]}")
    return url


def _is_local(url: str) -> bool:
    return urlsplit(url).hostname in {"127.0.0.1", "localhost", "::1"}
