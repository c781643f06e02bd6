"""What makes two failures the same failure."""

import hashlib
import re
from typing import Final

MESSAGE_CHARS: Final = 500
"""The rest of a message does not count: what follows is mostly data."""

_URL: Final = r"\b[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>]+"
_WINDOWS: Final = r"\b[A-Za-z]:\\[^\s'\"<>:,;)\]]*"
_ROOTED: Final = r"(?<![\w<])(?:~|\.{1,2})?/[^\s'\"<>:,;)\]]+"
_RELATIVE: Final = r"\b[\w.-]+(?:/[\w.-]+){2,}|\b[\w.-]+/[\w-]*\.\w+"
_PATH: Final = re.compile(f"{_URL}|{_WINDOWS}|{_ROOTED}|{_RELATIVE}")
_ID: Final = re.compile(
    r"\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b"  # a UUID
    r"|\b0x[0-9a-fA-F]+\b"  # an address
    r"|\b(?=[a-fA-F]*\d)[0-9a-fA-F]{6,}\b"  # a hash
    r"|\b(?=[A-Za-z_-]*\d)[A-Za-z0-9_-]{16,}\b"  # a token
)
_NUMBER: Final = re.compile(r"(?:[-+]?[\d#]+(?:[.,:][\d#]+)*(?:[eE][-+]?[\d#]+)?)+")
_SPACE: Final = re.compile(r"\s+")


def normalised(message: str) -> str:
    """Return a message without what differs from one failure to the next: paths and URLs, ids, numbers, spacing."""
    text = _PATH.sub("<path>", message[:MESSAGE_CHARS])
    text = _NUMBER.sub("#", _ID.sub("#", text))
    return _SPACE.sub(" ", text).strip()


def fingerprint(type_: str, error_type: str, message: str) -> str:
    """Return 16 hexadecimal digits that are the same for failures of one kind: task type, error type, message."""
    text = "\x1f".join((type_, error_type, normalised(message)))
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]
