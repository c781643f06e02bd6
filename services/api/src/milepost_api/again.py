"""Tasks that are over and are to run once more: counted in like new ones."""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from milepost_api.services import Services
from milepost_schemas import TaskState

_UNCHANGED: Final = "Nothing was changed; try again when some are done, or with fewer at a time."


async def run_again(
    services: Services,
    tenant: str,
    tasks: Sequence[UUID],
    replay: UUID,
    *,
    states: Sequence[TaskState],
    spacing_s: float = 0.0,
) -> list[Any]:
    """Have finished tasks run again from the start, as `DeadLetters.replay` does; return the rows of those that will.

    Raises Refusal (429), and changes nothing, if more would wait than may of the tenant; Unavailable.
    """
    store = services.dead_letters
    quotas = services.auth.ring.quotas(tenant)
    if not quotas.counts_tasks:
        return await store.replay(tenant, tasks, replay, spacing_s, states)
    if not services.backlog.known(tenant):
        await services.backlog.look(tenant, quotas)
    sizes = await store.payload_sizes(tenant, tasks, states)
    if not sizes:
        return []
    admitted = services.backlog.admit(tenant, quotas, sum(sizes), len(sizes), otherwise=_UNCHANGED)
    try:
        return await store.replay(tenant, tasks, replay, spacing_s, states, counted=True)
    finally:
        admitted.settle()
