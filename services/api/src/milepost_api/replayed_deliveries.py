"""Replays of deliveries: those named at once, those of a span page by page."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from milepost.store.webhooks import Page, Span
from milepost_api.cursors import Cursors
from milepost_api.endpoint import Call
from milepost_schemas.webhook import DeliveryReplay

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_REPLAY: Final = "replay of deliveries of a webhook"


async def replay(call: Call, webhook: UUID, asked: DeliveryReplay) -> dict[str, Any]:
    """Have deliveries made once more and return the answer. Raises Refusal for a cursor of something else."""
    store, cursors = call.services.webhooks, call.services.cursors
    span = Span(asked.state, asked.noted_from, asked.noted_before)
    following = None
    if asked.ids is None:
        shape = (_REPLAY, str(webhook), *(None if each is None else str(each) for each in span))
        page = None if asked.cursor is None else _read(cursors, call.tenant, shape, asked.cursor)
        ids, after = await store.replay_span(call.tenant, webhook, span, asked.limit, page)
        following = None if after is None else _sign(cursors, call.tenant, shape, after)
    else:
        ids = await store.replay_deliveries(call.tenant, webhook, asked.ids, span)
    return {"count": len(ids), "ids": ids, "more": following is not None, "next": following}


def _sign(cursors: Cursors, tenant: str, shape: tuple[str | None, ...], page: Page) -> str:
    began = str((page.began - _EPOCH) // timedelta(microseconds=1))
    return f"{began}.{cursors.sign(tenant, (*shape, began), page.after)}"


def _read(cursors: Cursors, tenant: str, shape: tuple[str | None, ...], cursor: str) -> Page:
    began, _, rest = cursor.partition(".")
    after = cursors.read(tenant, (*shape, began), rest)
    return Page(_EPOCH + timedelta(microseconds=int(began)), after)
