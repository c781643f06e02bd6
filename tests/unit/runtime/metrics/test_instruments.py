"""What is counted is what is shown, and OTLP gets the same."""

from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.resources import Resource
from prometheus_client.openmetrics.exposition import generate_latest

from milepost.runtime.metrics import WORKER, Counter, Gauge, Histogram, Instrument
from milepost.runtime.metrics.push import data_of, wanted
from tests.scraping import Samples, parsed

TRACE = "0af7651916cd43dd8448eb211c80319c"
SAMPLED = f"00-{TRACE}-b7ad6b7169203331-01"
UNSAMPLED = f"00-{TRACE}-b7ad6b7169203331-00"


@pytest.fixture(autouse=True)
def _undeclared() -> Iterator[None]:
    made = len(Instrument.made)
    yield
    del Instrument.made[made:]


class Page:
    """Some instruments, as a registry."""

    def __init__(self, *instruments: Instrument[Any]) -> None:
        self.instruments = instruments

    def collect(self) -> Iterator[Any]:
        for instrument in self.instruments:
            yield from instrument.collect()


def read(*instruments: Instrument[Any]) -> Samples:
    return parsed(generate_latest(Page(*instruments)).decode())  # type: ignore[no-untyped-call]


def waits() -> Histogram:
    return Histogram("milepost_some_wait_seconds", "Some.", (WORKER,), ("lane",), buckets=(0.1, 1.0), exemplars=True)


def test_an_observation_counts_in_its_bucket_and_all_above() -> None:
    histogram = waits()
    for seconds in (0.05, 0.1, 0.5, 7.0):
        histogram.observe(seconds, "high")
    histogram.at("high").observe(1.0, times=3)
    found = read(histogram)
    name = "milepost_some_wait_seconds"
    assert [found.sum(f"{name}_bucket", lane="high", le=le) for le in ("0.1", "1.0", "+Inf")] == [2, 6, 7]
    assert found.sum(f"{name}_count") == 7
    assert found.sum(f"{name}_sum") == pytest.approx(10.65)


def test_only_a_trace_that_is_recorded_becomes_an_exemplar() -> None:
    histogram = waits()
    histogram.observe(0.05, "high", traceparent=UNSAMPLED)
    histogram.observe(0.05, "high")
    assert read(histogram).exemplars == set()
    histogram.observe(0.05, "high", traceparent=SAMPLED)
    assert read(histogram).exemplars == {("milepost_some_wait_seconds_bucket", TRACE)}


def test_a_histogram_without_labels_is_there_before_anything_was_observed() -> None:
    histogram = Histogram("milepost_turn_seconds", "Turns.", (WORKER,), buckets=(0.1,))
    assert read(histogram).sum("milepost_turn_seconds_count") == 0
    assert len(read(histogram).samples) == 4


def test_a_gauge_that_nobody_set_says_nothing() -> None:
    gauge = Gauge("milepost_rows", "Rows.", (WORKER,))
    assert read(gauge).samples == []
    gauge.set(3)
    assert read(gauge).sum("milepost_rows") == 3
    gauge.forget()
    assert read(gauge).samples == []


def test_otlp_gets_the_same_numbers_under_the_same_names() -> None:
    histogram, counter = waits(), Counter("milepost_done_total", "Done.", (WORKER,), ("how",))
    gauge = Gauge("milepost_room", "Room.", (WORKER,))
    for seconds in (0.05, 0.5, 7.0):
        histogram.observe(seconds, "low", traceparent=SAMPLED)
    counter.add(5, "push")
    gauge.set(2)
    data = data_of(Page(histogram, counter, gauge).collect(), Resource.create({"service.name": "x"}), 1, 2)
    metrics: dict[str, Any] = {each.name: each for each in data.resource_metrics[0].scope_metrics[0].metrics}
    assert set(metrics) == {"milepost_some_wait_seconds", "milepost_done", "milepost_room"}
    assert metrics["milepost_some_wait_seconds"].unit == "s"
    (point,) = metrics["milepost_some_wait_seconds"].data.data_points
    assert (point.count, list(point.bucket_counts), list(point.explicit_bounds)) == (3, [1, 1, 1], [0.1, 1.0])
    assert point.attributes == {"lane": "low"}
    assert {f"{each.trace_id:032x}" for each in point.exemplars} == {TRACE}
    (done,) = metrics["milepost_done"].data.data_points
    assert (done.value, done.attributes, metrics["milepost_done"].data.is_monotonic) == (5, {"how": "push"}, True)
    (room,) = metrics["milepost_room"].data.data_points
    assert room.value == 2


@pytest.mark.parametrize(
    ("variables", "pushed"),
    [
        ({}, False),
        ({"OTEL_METRICS_EXPORTER": "otlp"}, True),
        ({"OTEL_METRICS_EXPORTER": "prometheus, OTLP"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://c:4318/v1/metrics"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_METRICS_EXPORTER": "none"}, False),
        ({"OTEL_METRICS_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "true"}, False),
    ],
)
def test_metrics_are_pushed_when_the_variables_of_opentelemetry_say_so(variables: dict[str, str], pushed: bool) -> None:
    assert wanted(variables) is pushed
