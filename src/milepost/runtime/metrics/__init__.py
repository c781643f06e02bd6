"""All metrics of the three services: declared in `catalogue`, read by `exposition`."""

from milepost.runtime.metrics.instruments import ALL, API, NOTIFIER, WORKER, Counter, Gauge, Histogram, Instrument

__all__ = ["ALL", "API", "NOTIFIER", "WORKER", "Counter", "Gauge", "Histogram", "Instrument"]
