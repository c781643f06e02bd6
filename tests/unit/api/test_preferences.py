"""How long a caller would wait."""

import pytest

from milepost_api.preferences import wait_of


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, 0), ("", 0), ("respond-async", 0), ("wait=10", 10), ('wait="10"', 10), ("Wait = 10", 10),
        ("respond-async, wait=10", 10), ("wait=10; x=y, handling=lenient", 10), ("wait=60", 60), ("wait=3600", 60),
        ("wait=-1", 0), ("wait=1.5", 0), ("wait=ten", 0), ("await=10", 0), ("wait=99999999999999999999", 0),
    ],
)  # fmt: skip
def test_wait_is_found_among_preferences(header: str | None, seconds: int) -> None:
    assert wait_of(header) == seconds
