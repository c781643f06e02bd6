"""Counters, gauges and histograms: prometheus_client's, declared once, with bounded labels and cached children."""

import time
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Final, Generic, TypeVar

import prometheus_client
from prometheus_client.core import Exemplar, HistogramMetricFamily

from milepost.runtime.metrics.bounded import OPEN

API: Final = "api"
WORKER: Final = "worker"
NOTIFIER: Final = "notifier"
ALL: Final = (API, WORKER, NOTIFIER)
_SAMPLED: Final = frozenset("13579bdf")
"""Last digits of a traceparent whose trace is recorded."""

T = TypeVar("T")


class Instrument(Generic[T]):
    """One metric of the catalogue. `at` gives what is counted, set or observed for one combination of labels."""

    kind: ClassVar[str]
    made: ClassVar[list["Instrument[Any]"]] = []
    """All there are, in the order they were declared in."""

    def __init__(self, name: str, text: str, of: tuple[str, ...], labels: tuple[str, ...], unit: str) -> None:
        """`of`: the services that have it. `unit`: as in OpenMetrics, empty for plain numbers."""
        self.name = name
        self.text = text
        self.of = of
        self.label_names = labels
        self.unit = unit
        self._names = tuple(OPEN.get(label) for label in labels)
        self._children: dict[tuple[str, ...], T] = {}
        self.metric: Any = self._make()
        Instrument.made.append(self)

    def _make(self) -> Any:
        """Return what it is on the inside."""
        raise NotImplementedError

    def at(self, *values: str) -> T:
        """Return the child with these label values, in the order of `label_names`."""
        child = self._children.get(values)
        if child is not None:
            return child
        bounded = tuple(
            value if names is None else names.bounded(value) for names, value in zip(self._names, values, strict=True)
        )
        child = self._child(bounded)
        if bounded == values:  # whoever counts as another is not remembered: there may be any number of them
            self._children[values] = child
        return child

    def _child(self, values: tuple[str, ...]) -> T:
        child: T = self.metric.labels(*values) if values else self.metric
        return child

    def collect(self) -> Iterator[Any]:
        """Give prometheus_client's families of samples."""
        yield from self.metric.collect()


class Counter(Instrument[prometheus_client.Counter]):
    """Only grows, from 0 at the start of the process."""

    kind = "counter"

    def __init__(self, name: str, text: str, of: tuple[str, ...], labels: tuple[str, ...] = (), unit: str = "") -> None:
        super().__init__(name, text, of, labels, unit)

    def _make(self) -> prometheus_client.Counter:
        return prometheus_client.Counter(self.name, self.text, self.label_names, unit=self.unit, registry=None)

    def add(self, number: float, *values: str) -> None:
        """Count `number` more."""
        self.at(*values).inc(number)


class Gauge(Instrument[prometheus_client.Gauge]):
    """Goes up and down."""

    kind = "gauge"

    def __init__(self, name: str, text: str, of: tuple[str, ...], labels: tuple[str, ...] = (), unit: str = "") -> None:
        super().__init__(name, text, of, labels, unit)
        self._known = bool(labels)

    def _make(self) -> prometheus_client.Gauge:
        return prometheus_client.Gauge(self.name, self.text, self.label_names, unit=self.unit, registry=None)

    def set(self, number: float, *values: str) -> None:
        """Say how much it is now."""
        self._known = True
        self.at(*values).set(number)

    def forget(self) -> None:
        """Say nothing until it is set again: an old number would be a lie, and so would be a 0."""
        self._known = False

    def collect(self) -> Iterator[Any]:
        """Give the family of samples, if anything is known."""
        if self._known:
            yield from super().collect()

    def replace(self, numbers: Mapping[tuple[str, ...], float]) -> None:
        """Say how much it is now for all labels there are; what is not named is gone, and so is no number for it.

        Names that count as one are summed up.
        """
        self._known = True
        self.metric.clear()
        self._children.clear()
        for values, number in numbers.items():
            self.at(*values).inc(number)


class Bins:
    """Observations with one combination of labels. To be used from one thread: it takes no lock."""

    __slots__ = ("_bounds", "_counts", "_sum", "_traces")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0
        self._traces: dict[int, tuple[str, float, float]] = {}
        """Of the last sampled one in each bucket: traceparent, number, when."""

    def observe(self, number: float, traceparent: str | None = None, times: int = 1) -> None:
        """Observe a number, so many times; a trace that is sampled becomes the exemplar of its bucket."""
        place = bisect_left(self._bounds, number)
        self._counts[place] += times
        self._sum += number * times
        if traceparent is not None and traceparent[-1] in _SAMPLED:
            self._traces[place] = traceparent, number, time.time()

    def buckets(self) -> Iterator[Any]:
        """Give for each upper bound how many were at most so large, with an exemplar where there is one."""
        so_far = 0
        for place, bound in enumerate((*map(repr, self._bounds), "+Inf")):
            so_far += self._counts[place]
            yield bound, so_far, self._exemplar(place)

    def _exemplar(self, place: int) -> Exemplar | None:
        seen = self._traces.get(place)
        if seen is None:
            return None
        traceparent, number, at = seen
        return Exemplar({"trace_id": traceparent[3:35], "span_id": traceparent[36:52]}, number, at)

    @property
    def sum(self) -> float:
        """Of all observations."""
        return self._sum


class Histogram(Instrument[Bins]):
    """How many observations were at most so large, their number and their sum.

    Not prometheus_client's: that asks one bucket after the other and takes two locks, which costs more than the rest of
    what is counted of a task; here one observation costs half a microsecond, many alike cost no more. What is read is
    made by prometheus_client.
    """

    kind = "histogram"

    def __init__(
        self,
        name: str,
        text: str,
        of: tuple[str, ...],
        labels: tuple[str, ...] = (),
        unit: str = "seconds",
        *,
        buckets: tuple[float, ...],
        exemplars: bool = False,
    ) -> None:
        """`buckets`: upper bounds, without the infinite one. `exemplars`: some name the trace they come from."""
        self.buckets = buckets
        self.exemplars = exemplars
        self._bins: dict[tuple[str, ...], Bins] = {}
        super().__init__(name, text, of, labels, unit)
        if not labels:
            self._child(())

    def _make(self) -> None:
        return None

    def _child(self, values: tuple[str, ...]) -> Bins:
        return self._bins.setdefault(values, Bins(self.buckets))

    def observe(self, number: float, *values: str, traceparent: str | None = None) -> None:
        """Observe once; a sampled trace becomes the exemplar of its bucket."""
        self.at(*values).observe(number, traceparent)

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """Give the family of samples."""
        family = HistogramMetricFamily(self.name, self.text, labels=self.label_names, unit=self.unit)
        for values, bins in list(self._bins.items()):
            family.add_metric(values, list(bins.buckets()), bins.sum)
        yield family
