"""The header Prefer (RFC 7240): of all preferences only `wait`."""

import re
from typing import Final

WAIT_LIMIT_S: Final = 60
_WAIT: Final = re.compile(r'(?:^|[,;])\s*wait\s*=\s*"?(\d{1,9})"?\s*(?:$|[,;])', re.IGNORECASE)


def wait_of(prefer: str | None) -> int:
    """Return for how many seconds the caller would wait, at most 60; 0 when it did not say, or not clearly."""
    match = _WAIT.search(prefer) if prefer else None
    return min(int(match[1]), WAIT_LIMIT_S) if match else 0
