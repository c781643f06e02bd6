"""What tests of the worker share."""

from collections.abc import Iterator

import pytest

from milepost.tasks.registry import registry


@pytest.fixture(autouse=True)
def _clean_registry() -> Iterator[None]:
    """Forget the tasks that a test defines."""
    before = dict(registry._by_type)
    yield
    registry._by_type.clear()
    registry._by_type.update(before)
