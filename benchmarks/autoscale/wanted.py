"""The query KEDA asks for a pool of workers, as the chart writes it."""

from collections.abc import Sequence


def wanted(queues: Sequence[str], *, most: int, within_s: float) -> str:
    """Return the SQL for the slots a pool should have: of these queues, `most` at most.

    `within_s`: a backlog that takes so long to go at the pace of now doubles the slots in use.
    """
    return f"select milepost.wanted_slots('{{{','.join(queues)}}}', {most}, {within_s:g})"
