"""Counters, gauges and histograms: prometheus_client's, declared once, with bounded labels and cached children."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Final, Generic, TypeVar

import prometheus_client
from prometheus_client.metrics import MetricWrapperBase

from milepost.runtime.metrics.bounded import OPEN

API: Final = "api"
WORKER: Final = "worker"
NOTIFIER: Final = "notifier"
ALL: Final = (API, WORKER, NOTIFIER)

T = TypeVar("T", bound=MetricWrapperBase)


class Instrument(Generic[T]):
    """One metric of the catalogue. `at` gives what is counted, set or observed for one combination of labels.

    Looking up a child costs a fifth of a microsecond, counting one about half of one; callers that count in a loop add
    up first.
    """

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
        self.metric = self._make()
        Instrument.made.append(self)

    def _make(self) -> T:
        raise NotImplementedError

    def at(self, *values: str) -> T:
        """Return the child with these label values, in the order of `label_names`."""
        child = self._children.get(values)
        if child is not None:
            return child
        bounded = tuple(
            value if names is None else names.bounded(value) for names, value in zip(self._names, values, strict=True)
        )
        child = self.metric.labels(*bounded) if bounded else self.metric
        if bounded == values:  # whoever counts as another is not remembered: there may be any number of them
            self._children[values] = child
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

    def _make(self) -> prometheus_client.Gauge:
        return prometheus_client.Gauge(self.name, self.text, self.label_names, unit=self.unit, registry=None)

    def set(self, number: float, *values: str) -> None:
        """Say how much it is now."""
        self.at(*values).set(number)

    def replace(self, numbers: Mapping[tuple[str, ...], float]) -> None:
        """Say how much it is now for all labels there are; what is not named is gone, and so is no number for it.

        Names that count as one are summed up.
        """
        self.metric.clear()
        self._children.clear()
        for values, number in numbers.items():
            self.at(*values).inc(number)


class Histogram(Instrument[prometheus_client.Histogram]):
    """How many observations were at most so large, their number and their sum."""

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
        super().__init__(name, text, of, labels, unit)

    def _make(self) -> prometheus_client.Histogram:
        return prometheus_client.Histogram(
            self.name, self.text, self.label_names, unit=self.unit, registry=None, buckets=self.buckets
        )

    def observe(self, number: float, *values: str, traceparent: str | None = None) -> None:
        """Observe once; a sampled trace becomes the exemplar of its bucket."""
        sampled = traceparent is not None and traceparent[-1] in "13579bdf"
        exemplar = {"trace_id": traceparent[3:35], "span_id": traceparent[36:52]} if sampled and traceparent else None
        self.at(*values).observe(number, exemplar)
