"""What must be in no log, whoever wrote it: known secrets, and whatever looks like one of ours."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from milepost.runtime.settings import Settings

LOOKS_LIKE: Final = {
    "an API key": re.compile(r"\bmp_[A-Za-z0-9]{8}_[A-Za-z0-9]{20,}"),
    "a watch token": re.compile(r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{20,}"),
    "a ticket in a URL": re.compile(r"ticket=[\w-]{16,}"),
    "a password in a URL": re.compile(r"\w+://[^\s:/@]*:[^\s:/@*]+@"),
    "a secret of webhooks": re.compile(r"\bwhsec_[\w+/=-]{16,}"),
    "a header with a credential": re.compile(r"Bearer [\w.-]{8,}"),
}


def secrets_of(settings: Settings) -> set[str]:
    """Return what in these settings nobody may see."""
    urls = (settings.database_url, settings.redis_url)
    passwords = {urlsplit(url.get_secret_value()).password for url in urls}
    known = {settings.api_key, settings.token_secret, settings.kafka_sasl_password, *settings.token_secrets_old}
    return {each for each in passwords if each} | {each.get_secret_value() for each in known if each is not None}


def found_in(text: str, known: Iterable[str] = ()) -> list[str]:
    """Return a line for each secret in a text, without the secret."""
    found = [f"a known secret, after {_before(text, text.index(each))!r}" for each in known if each in text]
    for what, pattern in LOOKS_LIKE.items():
        match = pattern.search(text)
        if match is not None:
            found.append(f"{what}, after {_before(text, match.start())!r}")
    return found


def found_in_files(files: Iterable[Path], known: Iterable[str] = ()) -> list[str]:
    """Return the same for files; those that are not there have no secrets."""
    known = tuple(known)
    return [
        f"{file.name}: {row}"
        for file in files
        if file.is_file()
        for row in found_in(file.read_text(encoding="utf-8", errors="replace"), known)
    ]


def _before(text: str, at: int) -> str:
    return text[max(0, at - 120) : at]
