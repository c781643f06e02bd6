"""From what a caller sent to a NewTask: pure, but for the type, the parent and the id that are handed in."""

import hashlib
import re
from typing import Any, Final
from uuid import UUID

import orjson
from pydantic import ValidationError

from milepost.store import NewTask
from milepost_api.problems import ROWS_SHOWN, Refusal, finding
from milepost_schemas.problem import ProblemType
from milepost_schemas.task import SubmitTask
from milepost_schemas.worker import TypeInfo

_KEY: Final = re.compile(r"[\x20-\x7e]{1,255}")
_NOTHING: Final = "Nothing was stored; correct it and send it again."


def read_members(members: Any) -> tuple[SubmitTask, dict[str, Any]]:
    """Return the options and the payload of a submission. Raises Refusal with a row for each finding.

    The payload stays what the JSON parser made of it: it is checked against the type's schema, not by us.
    """
    if type(members) is not dict:
        detail = f"A submission is a JSON object with at least `type`. {_NOTHING}"
        raise Refusal(ProblemType.INVALID, detail, [finding((), "should be an object")])
    options = {name: value for name, value in members.items() if name != "payload"}
    payload = members.get("payload", {})
    rows = [] if type(payload) is dict else [finding(("payload",), "should be an object")]
    try:
        asked = SubmitTask.model_validate(options)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False, include_context=False)
        rows += [finding(row["loc"], row["msg"].removeprefix("Value error, ")) for row in found]
    except OverflowError:
        rows.append(finding(("run_at",), "is outside the years 1 to 9999 in UTC"))
    if rows:
        raise Refusal(ProblemType.INVALID, f"The submission is not valid. {_NOTHING}", rows[:ROWS_SHOWN])
    return asked, payload


def read_key(key: Any) -> str:
    """Return an idempotency key. Raises Refusal unless it is 1 to 255 printable ASCII characters."""
    if type(key) is not str or _KEY.fullmatch(key) is None:
        row = finding(("idempotency_key",), "should be 1 to 255 printable ASCII characters")
        raise Refusal(ProblemType.INVALID, f"The idempotency key is not valid. {_NOTHING}", [row])
    return key


def fingerprint_of(members: dict[str, Any]) -> bytes:
    """Return what tells one request from another under the same idempotency key; spelling does not count."""
    return hashlib.sha256(orjson.dumps(members, option=orjson.OPT_SORT_KEYS)).digest()


def new_task(
    task: UUID,
    tenant: str,
    asked: SubmitTask,
    payload: dict[str, Any],
    info: TypeInfo,
    *,
    root: UUID | None,
    traceparent: str,
    key: str | None,
    fingerprint: bytes | None,
) -> NewTask:
    """Return the task to store; what the caller left out comes from the type."""
    return NewTask(
        id=task,
        tenant=tenant,
        type=asked.type,
        queue=asked.queue or info.queue,
        priority=asked.priority,
        max_attempts=asked.max_attempts or info.max_attempts,
        payload=orjson.dumps(payload).decode(),
        timeout_s=asked.timeout if asked.timeout is not None else info.timeout,
        labels=orjson.dumps(asked.labels).decode() if asked.labels else "{}",
        key=asked.key,
        parent_id=asked.parent_id,
        root_id=root,
        traceparent=traceparent,
        idempotency_key=key,
        fingerprint=fingerprint,
        run_at=asked.run_at,
        delay=asked.delay,
        expires_in=asked.expires_in,
        total_timeout_s=asked.total_timeout if asked.total_timeout is not None else info.total_timeout,
    )
