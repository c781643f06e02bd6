"""Checks of deliveries: one for each end that a webhook is for, and none for webhooks of other tenants. Pure."""

from collections import Counter
from collections.abc import Iterator
from typing import Final, NamedTuple
from uuid import UUID

from milepost.audit.facts import DeliveryRow, Facts, TaskRow, Told, WebhookRow
from milepost.audit.finding import Finding
from milepost.audit.in_store import TERMINAL

AROUND_S: Final = 5.0
"""Instants are when transactions began: whether an end this near to the making of a webhook came first is not known."""


class _End(NamedTuple):
    state: str
    at: float


def check_deliveries(facts: Facts) -> Iterator[Finding]:
    """Check deliveries against the ends of tasks and the webhooks that are there.

    Ends before a task's last one are known from the journal only; without it they are not judged.
    """
    for delivery in facts.deliveries:
        yield from _delivery(facts, delivery)
    told = Counter((each.webhook, each.task, each.epoch) for each in facts.deliveries)
    for (hook, task, epoch), count in told.items():
        if count > 1:
            yield Finding(12, task, f"the end of epoch {epoch} has {count} deliveries to webhook {hook}.")
    for hook, webhook in facts.webhooks.items():
        for row in facts.tasks.values():
            # What was told of a task that was deleted went with it.
            if row.tenant == webhook.tenant and not row.deleted:
                for epoch, end in _ends(facts, row).items():
                    wanted = _for(webhook, facts.told[row.id], end)
                    yield from _end(row.id, epoch, hook, wanted=wanted, told=told[hook, row.id, epoch] > 0)


def _delivery(facts: Facts, delivery: DeliveryRow) -> Iterator[Finding]:
    webhook, task = facts.webhooks.get(delivery.webhook), facts.tasks.get(delivery.task)
    said = f"the end of epoch {delivery.epoch} is told to webhook {delivery.webhook}"
    if webhook is None:
        yield Finding(12, delivery.task, f"{said}, which is not there.")
    elif task is None:
        yield Finding(12, delivery.task, f"{said}, and Postgres does not have the task.")
    elif task.deleted:
        yield Finding(12, delivery.task, f"{said}, and the task was deleted before that was over.")
    elif not task.tenant == webhook.tenant == delivery.tenant:
        yield Finding(
            7, delivery.task, f"{said} of {webhook.tenant} for {delivery.tenant}, and it belongs to {task.tenant}."
        )
    elif not _happened(facts, task, delivery.epoch):
        yield Finding(12, delivery.task, f"{said}, and there was none.")


def _end(task: UUID, epoch: int, hook: UUID, *, wanted: bool | None, told: bool) -> Iterator[Finding]:
    if wanted and not told:
        yield Finding(12, task, f"the end of epoch {epoch} has no delivery to webhook {hook}, which is for it.")
    elif wanted is False and told:
        yield Finding(12, task, f"the end of epoch {epoch} is told to webhook {hook}, whose filters leave it out.")


def _ends(facts: Facts, task: TaskRow) -> dict[int, _End]:
    """Return each end that is known of a task, by its epoch."""
    if facts.moves is not None:
        return {
            move.epoch: _End(move.target, move.at) for move in facts.moves.get(task.id, []) if move.target in TERMINAL
        }
    finished_at = facts.told[task.id].finished_at
    return {} if finished_at is None or task.state not in TERMINAL else {task.epoch: _End(task.state, finished_at)}


def _happened(facts: Facts, task: TaskRow, epoch: int) -> bool:
    if facts.moves is not None or epoch >= task.epoch:
        return epoch in _ends(facts, task)
    return True


def _for(webhook: WebhookRow, what: Told, end: _End) -> bool | None:
    """Whether a webhook of the task's tenant is for an end; None: it may be or not."""
    if webhook.types is not None and what.type not in webhook.types:
        return False
    if webhook.states is not None and end.state not in webhook.states:
        return False
    if webhook.labels is not None and not webhook.labels.items() <= what.labels.items():
        return False
    if end.at <= webhook.since + AROUND_S or (webhook.until is not None and end.at >= webhook.until - AROUND_S):
        return None
    return True
