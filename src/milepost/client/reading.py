"""JSON as the services send it."""

from typing import Any

import orjson
from pydantic_core import from_json


def read_json(text: bytes | str) -> Any:
    """Return what a JSON text says. Raises ValueError if it is none.

    Results that workers of older versions wrote may hold whole numbers too large for a float, which orjson does not
    take. A watch that cannot read its last frame would never end.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return from_json(text)
