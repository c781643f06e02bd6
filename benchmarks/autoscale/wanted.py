"""The query KEDA asks for a pool of workers, as the chart fills it in."""

from collections.abc import Sequence
from pathlib import Path

CHART = Path(__file__).resolve().parents[2] / "deploy/helm/milepost"


def wanted(queues: Sequence[str], *, most: int, within_s: float) -> str:
    """Return the SQL for the slots a pool should have: of these queues, `most` at most.

    `within_s`: a backlog that takes so long to go at the pace of now doubles the slots in use.
    """
    text = (CHART / "files/wanted.sql").read_text(encoding="utf-8")
    filled = {"{queues}": "'{" + ",".join(queues) + "}'", "{most}": str(most), "{within}": f"{within_s:g}"}
    for name, value in filled.items():
        text = text.replace(name, value)
    return text
