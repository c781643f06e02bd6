"""Reading metrics as Prometheus does, with the parser of its own client."""

from collections.abc import Iterable
from typing import Any

import aiohttp
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families as prometheus_families

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


class Samples:
    """What one process, or several together, showed."""

    def __init__(self, families: Iterable[Any]) -> None:
        self.samples: list[Any] = [sample for family in families for sample in family.samples]

    def __add__(self, other: "Samples") -> "Samples":
        both = Samples(())
        both.samples = [*self.samples, *other.samples]
        return both

    def sum(self, name: str, **labels: str) -> float:
        """Return the sum over all samples of that name that have these labels."""
        found = [s.value for s in self.samples if s.name == name and labels.items() <= s.labels.items()]
        return float(sum(found))

    def by(self, name: str, *labels: str) -> dict[tuple[str, ...], float]:
        """Return the samples of that name that are not 0, summed up by some labels."""
        found: dict[tuple[str, ...], float] = {}
        for sample in self.samples:
            if sample.name == name and sample.value:
                key = tuple(sample.labels[label] for label in labels)
                found[key] = found.get(key, 0.0) + sample.value
        return found

    @property
    def exemplars(self) -> set[tuple[str, str]]:
        """Names of samples with an exemplar, each with the trace it names."""
        return {(s.name, s.exemplar.labels["trace_id"]) for s in self.samples if s.exemplar is not None}


def parsed(text: str, *, openmetrics: bool = True) -> Samples:
    """Return what a page says. Raises ValueError for what Prometheus would not read."""
    families: Any = (openmetrics_families if openmetrics else prometheus_families)(text)
    return Samples(families)


async def page(url: str, *, key: str | None = None, accept: str | None = None) -> str:
    """Return the text of a page of metrics."""
    headers = {"Accept": accept} if accept else {}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    async with aiohttp.ClientSession() as session, session.get(f"{url}/metrics", headers=headers) as response:
        text = await response.text()
        assert response.status == 200, text
        assert response.content_type == ("application/openmetrics-text" if accept == OPENMETRICS else "text/plain")
        return text


async def scraped(*urls: str, key: str | None = None, accept: str | None = OPENMETRICS) -> Samples:
    """Return what processes show, summed up."""
    found = Samples(())
    for url in urls:
        text = await page(url, key=key, accept=accept)
        found += parsed(text, openmetrics=accept == OPENMETRICS)
    return found
