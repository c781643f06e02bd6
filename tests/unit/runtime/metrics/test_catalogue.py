"""What the catalogue promises whoever writes alerts against its names."""

from pathlib import Path
from typing import Any

import pytest

from milepost.runtime.metrics import Instrument, catalogue
from milepost.runtime.metrics.page import page

EVERY = [value for value in vars(catalogue).values() if isinstance(value, Instrument)]
BY_US = {
    "service", "version", "dependency", "state", "route", "method", "status_class", "lane", "tenant_class", "how",
    "reason", "outcome", "transport", "kind", "status",
}  # fmt: skip
"""Labels whose values are written in the code."""
BY_OTHERS = {"queue", "type", "topic"}


def test_the_page_is_made_of_the_catalogue() -> None:
    assert Path("docs/metrics.md").read_text(encoding="utf-8") == page(), "run: make metrics-page"


def test_every_metric_is_on_the_page() -> None:
    assert all(f"| `{each.name}` |" in page() for each in EVERY)


@pytest.mark.parametrize("each", EVERY, ids=lambda each: each.name)
def test_a_name_says_what_it_is(each: Instrument[Any]) -> None:
    assert each.name.startswith("milepost_")
    assert each.name.endswith("_total") == (each.kind == "counter")
    assert each.name.removesuffix("_total").endswith(each.unit)
    assert all(family.name + ("_total" if each.kind == "counter" else "") == each.name for family in each.collect())


@pytest.mark.parametrize("each", EVERY, ids=lambda each: each.name)
def test_no_label_can_take_any_number_of_values(each: Instrument[Any]) -> None:
    assert set(each.label_names) <= BY_US | BY_OTHERS
    bounded = {name for name, names in zip(each.label_names, each._names, strict=True) if names is not None}
    assert bounded == BY_OTHERS & set(each.label_names)
