"""What callers say, as the API wants to hear it. Pure."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from pydantic import BaseModel

from milepost.client.parsing import task_uuid
from milepost_schemas.feed import FeedFilter

Payload = BaseModel | Mapping[str, Any]


def submission(
    *,
    type: str,  # noqa: A002 - the API's own word
    payload: Payload | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Return the body of a submission; options left out or None are not in it."""
    body: dict[str, Any] = {"type": type}
    if payload is not None:
        body["payload"] = payload.model_dump(mode="json") if isinstance(payload, BaseModel) else dict(payload)
    for name, value in options.items():
        if isinstance(value, timedelta):
            body[name] = value.total_seconds()
        elif name == "labels" and value is not None:
            body[name] = dict(value)
        elif value is not None:
            body[name] = value
    return body


def watchable(
    task: UUID | str | None,
    label: tuple[str, str] | None,
    chosen: FeedFilter | None,
    ttl: timedelta | float | None,
    *,
    feed: bool,
) -> dict[str, Any]:
    """Return the body that asks for a watch token or a ticket."""
    asked: dict[str, Any] = {}
    if task is not None:
        asked["task"] = str(task_uuid(task))
    if label is not None:
        asked["label"] = {"name": label[0], "value": label[1]}
    if feed:
        asked["feed"] = "tasks"
    if chosen is not None:
        asked["filter"] = chosen.model_dump(mode="json", exclude_defaults=True)
    if ttl is not None:
        asked["ttl"] = int(seconds(ttl))
    return asked


def seconds(duration: timedelta | float) -> float:
    """Return a duration in seconds."""
    return duration.total_seconds() if isinstance(duration, timedelta) else duration


def filtered(filters: Mapping[str, object], labels: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the query of a list: filters that are not None, instants in ISO 8601, and a `label` for each label."""
    params = [
        (name, value.isoformat() if isinstance(value, datetime) else str(value))
        for name, value in filters.items()
        if value is not None
    ]
    return params + [("label", f"{name}={value}") for name, value in labels.items()]
