"""Figures that scenarios share."""

from statistics import quantiles

Percentiles = tuple[float, float, float]
"""p50, p95 and p99."""


def percentiles(seconds: list[float]) -> Percentiles:
    """Return them of at least one value, in milliseconds."""
    cuts = quantiles(seconds, n=100, method="inclusive") if len(seconds) > 1 else [seconds[0]] * 99
    return (round(cuts[49] * 1000, 1), round(cuts[94] * 1000, 1), round(cuts[98] * 1000, 1))


def slashed(values: Percentiles) -> str:
    """Return them as people read them."""
    return " / ".join(f"{value:,.1f}" for value in values)
