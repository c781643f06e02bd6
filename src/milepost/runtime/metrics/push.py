"""Metrics by OTLP, for those who do not scrape: the same numbers under the same names, sent every minute.

The OpenTelemetry SDK for Python takes numbers from its own instruments only (it has no MetricProducer), and those cost
each task more than what is shown here does. So what was collected is put into the SDK's data points, which its exporter
sends. https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from milepost.runtime.lifecycle import background
from milepost.runtime.logs import get_logger
from milepost.runtime.metrics.exposition import Exposition

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import Metric, MetricsData

log = get_logger("milepost.metrics.push")

LAST_S: Final = 3.0
"""A process that ends takes so long to push once more."""
_UNITS: Final = {"seconds": "s", "bytes": "By"}
_KINDS: Final = frozenset({"counter", "gauge", "histogram"})


def wanted(variables: Mapping[str, str]) -> bool:
    """Return whether the OTEL_* variables ask for metrics by OTLP, as the OpenTelemetry specification reads them.

    So an endpoint for all signals is one for metrics too, unless OTEL_METRICS_EXPORTER names something else (`none`).
    """
    if variables.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    if exporters := variables.get("OTEL_METRICS_EXPORTER", "").strip():
        return "otlp" in {word.strip().lower() for word in exporters.split(",")}
    return bool(variables.get("OTEL_EXPORTER_OTLP_ENDPOINT") or variables.get("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"))


@asynccontextmanager
async def pushing(exposition: Exposition) -> AsyncIterator[None]:
    """Push inside the block and once at its end, if the OTEL_* variables say so."""
    if not wanted(os.environ):
        yield
        return
    pusher = Pusher(exposition)
    async with background(("metrics push", pusher.run)):
        yield
    await pusher.close()


class Pusher:
    """Sends what is shown every OTEL_METRIC_EXPORT_INTERVAL milliseconds (60,000).

    A failure is logged, and made up for by the next one: numbers are totals.
    """

    def __init__(self, exposition: Exposition) -> None:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.sdk.resources import Resource

        self._exposition = exposition
        self._exporter = OTLPMetricExporter()
        self._every_s = float(os.environ.get("OTEL_METRIC_EXPORT_INTERVAL") or 60_000) / 1000
        # Without an instance two processes of one service would be one series that jumps to and fro.
        self._resource: Any = Resource.create(
            {"service.name": f"milepost-{exposition.service}", "service.instance.id": str(uuid4())}
        )
        self._began = time.time_ns()

    async def run(self) -> None:
        """Push until cancelled."""
        while True:
            await asyncio.sleep(self._every_s)
            await self.push()

    async def push(self) -> None:
        """Push once. Bounded by the exporter's own timeout."""
        await self._exposition.look()
        data = data_of(self._exposition.collect(), self._resource, self._began, time.time_ns())
        await asyncio.to_thread(self._exporter.export, data)

    async def close(self) -> None:
        """Push a last time and end the exporter."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_S):
                await self.push()
        self._exporter.shutdown()


def data_of(families: Iterable[Any], resource: Any, began: int, now: int) -> "MetricsData":
    """Return families of prometheus_client as OpenTelemetry has them. `began` and `now` are nanoseconds since 1970."""
    from opentelemetry.sdk.metrics.export import MetricsData, ResourceMetrics, ScopeMetrics
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope

    metrics = [_metric(family, began, now) for family in families if family.type in _KINDS]
    scope = ScopeMetrics(InstrumentationScope("milepost"), [each for each in metrics if each is not None], "")
    return MetricsData([ResourceMetrics(resource, [scope], "")])


def _metric(family: Any, began: int, now: int) -> "Metric | None":
    from opentelemetry.sdk.metrics import export

    points: list[Any] = (
        _histograms(family, began, now)
        if family.type == "histogram"
        else [
            export.NumberDataPoint(dict(sample.labels), began, now, sample.value)
            for sample in family.samples
            if sample.name in {family.name, f"{family.name}_total"}
        ]
    )
    if not points:
        return None
    data: Any
    match family.type:
        case "counter":
            data = export.Sum(points, export.AggregationTemporality.CUMULATIVE, is_monotonic=True)
        case "gauge":
            data = export.Gauge(points)
        case _:
            data = export.Histogram(points, export.AggregationTemporality.CUMULATIVE)
    return export.Metric(family.name, family.documentation, _UNITS.get(family.unit, family.unit), data)


def _histograms(family: Any, began: int, now: int) -> list[Any]:
    """Return a point for each combination of labels; Prometheus counts up over buckets, OpenTelemetry does not."""
    from opentelemetry.sdk.metrics.export import HistogramDataPoint

    not_known: Any = None  # the protocol leaves them out; the SDK's own instruments always know
    series: dict[tuple[tuple[str, str], ...], dict[str, Any]] = {}
    for sample in family.samples:
        labels = {name: value for name, value in sample.labels.items() if name != "le"}
        found = series.setdefault(tuple(labels.items()), {"counts": [], "bounds": [], "exemplars": [], "sum": 0.0})
        if sample.name.endswith("_bucket"):
            found["counts"].append(int(sample.value))
            found["bounds"].append(float(sample.labels["le"]))
            if sample.exemplar is not None:
                found["exemplars"].append(_exemplar(sample.exemplar))
        elif sample.name.endswith("_sum"):
            found["sum"] = sample.value
    return [
        HistogramDataPoint(
            attributes=dict(labels),
            start_time_unix_nano=began,
            time_unix_nano=now,
            count=one["counts"][-1],
            sum=one["sum"],
            bucket_counts=[count - before for before, count in zip([0, *one["counts"]], one["counts"], strict=False)],
            explicit_bounds=one["bounds"][:-1],
            min=not_known,
            max=not_known,
            exemplars=one["exemplars"],
        )
        for labels, one in series.items()
        if one["counts"]
    ]


def _exemplar(given: Any) -> Any:
    from opentelemetry.sdk.metrics import Exemplar

    return Exemplar(
        filtered_attributes={},
        value=given.value,
        time_unix_nano=int((given.timestamp or 0.0) * 1e9),
        trace_id=int(given.labels["trace_id"], 16),
        span_id=int(given.labels["span_id"], 16),
    )
