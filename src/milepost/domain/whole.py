"""Whole numbers that every reader of JSON understands alike."""

import json
import re
from typing import Final

_DIGITS: Final = 20
_LONG: Final = re.compile(rb"[0-9]{19}")


def is_exact(digits: str) -> bool:
    """Whether a whole number, as JSON writes it, fits in 64 bits, with a sign or without; others lose digits."""
    return len(digits) <= _DIGITS and -(2**63) <= int(digits) < 2**64


def check_exact(text: bytes) -> None:
    """Look at all whole numbers of a JSON text. Raises ValueError if one does not fit in 64 bits."""
    # Almost no text has so many digits in a row: looking for them costs a tenth of reading it.
    if _LONG.search(text):
        json.loads(text, parse_int=_exact)


def _exact(digits: str) -> None:
    if not is_exact(digits):
        raise ValueError("a whole number does not fit in 64 bits and would lose digits; return it as text")
