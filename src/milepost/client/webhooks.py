"""Webhooks over the client: making them, and looking after what is delivered."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

from pydantic import TypeAdapter

from milepost.client.http import Http
from milepost.client.parsing import parsed, task_uuid
from milepost_schemas.webhook import (
    DeliveriesReplayed,
    DeliveryStanding,
    Ending,
    Webhook,
    WebhookDelivery,
    WebhookDeliveryDetail,
    WebhookDeliveryPage,
    WebhookList,
    WebhookWithSecret,
)

PAGE: Final = 200
_PATH: Final = "/v1/webhooks"

_ONE: Final = TypeAdapter(Webhook)
_SECRET: Final = TypeAdapter(WebhookWithSecret)
_ALL: Final = TypeAdapter(WebhookList)
_DELIVERY: Final = TypeAdapter(WebhookDelivery)
_DETAIL: Final = TypeAdapter(WebhookDeliveryDetail)
_LOG: Final = TypeAdapter(WebhookDeliveryPage)
_REPLAYED: Final = TypeAdapter(DeliveriesReplayed)


class Webhooks:
    """Webhooks of a client's API; made by `Client.webhooks`. Raises what the client raises."""

    def __init__(self, http: Http) -> None:
        self._http = http

    async def create(
        self,
        url: str,
        *,
        types: Iterable[str] | None = None,
        states: Iterable[Ending] | None = None,
        labels: Mapping[str, str] | None = None,
        description: str | None = None,
    ) -> WebhookWithSecret:
        """Make a webhook; a filter that is None lets everything through. The secret is not shown again.

        Not repeated while the API is away: a repeat could make two. Raises Unreachable then; `list` tells whether it
        was made.
        """
        body: dict[str, Any] = {"url": url}
        body |= _given(types=_list(types), states=_list(states), labels=_dict(labels), description=description)
        return parsed(_SECRET, await self._http.call("POST", _PATH, json=body, repeat_for=0))

    async def list(self) -> Sequence[Webhook]:
        """Return all of the tenant's, the oldest first."""
        return parsed(_ALL, await self._http.call("GET", _PATH)).items

    async def get(self, webhook: UUID | str) -> Webhook:
        """Return one. Raises Refused (404)."""
        return parsed(_ONE, await self._http.call("GET", _path(webhook)))

    async def change(self, webhook: UUID | str, changes: Mapping[str, Any]) -> Webhook:
        """Change `url`, `types`, `states`, `labels`, `description`, `enabled`: those that are named, also to None."""
        return parsed(_ONE, await self._http.call("PATCH", _path(webhook), json=dict(changes)))

    async def delete(self, webhook: UUID | str) -> None:
        """Delete one, and its log. Raises Refused (404)."""
        await self._http.call("DELETE", _path(webhook))

    async def rotate_secret(self, webhook: UUID | str, overlap: float | None = None) -> WebhookWithSecret:
        """Return it with a new secret; the one before signs too for `overlap` seconds (None: a day).

        Not repeated while the API is away: each repeat would make another secret.
        """
        body = _given(overlap=overlap)
        return parsed(_SECRET, await self._http.call("POST", _path(webhook) + "/secret", json=body, repeat_for=0))

    async def ping(self, webhook: UUID | str) -> WebhookDelivery:
        """Have a message sent that tells of no task, and return its delivery, which is pending."""
        return parsed(_DELIVERY, await self._http.call("POST", _path(webhook) + "/ping", repeat_for=0))

    async def deliveries(
        self, webhook: UUID | str, *, state: DeliveryStanding | None = None
    ) -> AsyncIterator[WebhookDelivery]:
        """Yield deliveries of the last 30 days, the newest first."""
        params: list[tuple[str, str]] = [("limit", str(PAGE)), *_given(state=state).items()]
        cursor: list[tuple[str, str]] = []
        while True:
            answer = await self._http.call("GET", _path(webhook) + "/deliveries", params=[*params, *cursor])
            page = parsed(_LOG, answer)
            for delivery in page.items:
                yield delivery
            if page.next is None:
                return
            cursor = [("cursor", page.next)]

    async def delivery(self, webhook: UUID | str, delivery: UUID | str) -> WebhookDeliveryDetail:
        """Return a delivery with its attempts. Raises Refused (404)."""
        path = f"{_path(webhook)}/deliveries/{task_uuid(delivery)}"
        return parsed(_DETAIL, await self._http.call("GET", path))

    async def replay(
        self,
        webhook: UUID | str,
        *,
        ids: Iterable[UUID | str] | None = None,
        state: Literal["delivered", "failed"] | None = None,
        noted_from: datetime | None = None,
        noted_before: datetime | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> DeliveriesReplayed:
        """Have deliveries made once more: those named, or all that match, at most `limit` (1,000) at a time.

        While the answer has a `next`, call it again with that as `cursor` and everything else as it was: nothing is
        made twice then, and what ended or was sent since the first call is left alone. So is what is pending. Raises
        Refused when nothing says which.
        """
        body = _given(
            ids=None if ids is None else [str(task_uuid(each)) for each in ids],
            state=state,
            noted_from=None if noted_from is None else noted_from.isoformat(),
            noted_before=None if noted_before is None else noted_before.isoformat(),
            limit=limit,
            cursor=cursor,
        )
        return parsed(_REPLAYED, await self._http.call("POST", _path(webhook) + "/replay", json=body))


def _path(webhook: UUID | str) -> str:
    return f"{_PATH}/{task_uuid(webhook)}"


def _given(**members: Any) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}


def _list(words: Iterable[str] | None) -> Any:
    return None if words is None else [*words]


def _dict(labels: Mapping[str, str] | None) -> Any:
    return None if labels is None else dict(labels)
