"""What one process shows of the catalogue, in the format its reader asks for."""

from collections.abc import Awaitable, Callable, Iterator
from importlib.metadata import version
from typing import Any, Final

import prometheus_client
from prometheus_client.exposition import choose_encoder

from milepost.runtime.logs import get_logger
from milepost.runtime.metrics import catalogue
from milepost.runtime.metrics.instruments import Instrument

log = get_logger("milepost.metrics")

ANYTHING: Final = "*/*"


class Exposition:
    """The metrics of this process, with what has to be read or asked before they are shown."""

    def __init__(self, service: str) -> None:
        """`service` is one of `instruments.ALL`."""
        self.service = service
        self._shown = [each for each in Instrument.made if service in each.of]
        self._readings: list[Callable[[], None]] = []
        self._looks: list[Callable[[], Awaitable[None]]] = []
        # When each counter began is of no use to Prometheus and twice the samples.
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
        catalogue.BUILD.set(1, service, version("milepost"))

    def reads(self, *readings: Callable[[], None]) -> None:
        """Have functions called each time metrics are shown; they set gauges and wait for nothing."""
        self._readings += readings

    def asks(self, look: Callable[[], Awaitable[None]]) -> None:
        """Have something awaited each time metrics are shown. It is bounded in time and raises nothing."""
        self._looks.append(look)

    async def look(self) -> None:
        """Bring everything up to date."""
        for look in self._looks:
            await look()
        for reading in self._readings:
            reading()

    def collect(self) -> Iterator[Any]:
        """Give families of samples: ours, then those of Python, the process and the handlers."""
        for instrument in self._shown:
            yield from instrument.collect()
        try:
            yield from list(prometheus_client.REGISTRY.collect())
        except Exception:
            log.exception("what was registered with prometheus_client here cannot be collected, and is not shown")

    async def page(self, accept: str | None) -> tuple[bytes, str]:
        """Return the text for an Accept header, and its content type; with exemplars if that asks for OpenMetrics."""
        await self.look()
        encode, kind = choose_encoder(accept or ANYTHING)
        text: bytes = encode(self)
        return text, kind
