"""Which whole numbers keep all their digits."""

import pytest

from milepost.domain.whole import check_exact

LEAST, MOST = -(2**63), 2**64 - 1


@pytest.mark.parametrize(
    "text",
    [
        "0",
        str(LEAST),
        f'{{"a": [{MOST}, -0]}}',
        f'["{MOST}0", "{10**400}"]',
        "0.12345678901234567890123",
        "1e300",
        "123456789012345678901.5",
    ],
)
def test_what_fits_and_what_is_no_whole_number_is_let_through(text: str) -> None:
    check_exact(text.encode())


@pytest.mark.parametrize("number", [MOST + 1, LEAST - 1, 10**25, -(10**400)], ids=["most", "least", "long", "huge"])
def test_a_whole_number_that_loses_digits_is_refused_wherever_it_is(number: int) -> None:
    with pytest.raises(ValueError, match="64 bits"):
        check_exact(f'{{"a": ["1", {{"b": {number}}}]}}'.encode())
