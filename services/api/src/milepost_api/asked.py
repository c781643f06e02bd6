"""What a caller asks for: what a body says, and ids and names in the path."""

import re
from typing import Any, Final, TypeVar
from uuid import UUID

import orjson
from pydantic import BaseModel, ValidationError

from milepost_api.endpoint import Call
from milepost_api.filters import read_name
from milepost_api.problems import ROWS_SHOWN, Refusal, finding
from milepost_schemas.problem import ProblemType
from milepost_schemas.queues import queue_problem

_ID_LENGTH: Final = 36
_FINGERPRINT: Final = re.compile(r"[0-9a-f]{16}")

M = TypeVar("M", bound=BaseModel)


def read_model(model: type[M], members: Any, otherwise: str) -> M:
    """Return what a body's members say.

    Raises Refusal with a row for each finding; `otherwise` tells people what that means for what they asked.
    """
    try:
        return model.model_validate_json(orjson.dumps(members))
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False, include_context=False)
        rows = [finding(row["loc"], row["msg"].removeprefix("Value error, ")) for row in found[:ROWS_SHOWN]]
        raise Refusal(ProblemType.INVALID, otherwise, rows) from None


def path_id(call: Call, otherwise: str, name: str = "id") -> UUID:
    """Return an id in the path. Raises Refusal (404) with `otherwise` for what is none, or is spelt in another way."""
    text: str = call.scope["path_params"][name]
    try:
        if len(text) == _ID_LENGTH:
            return UUID(text)
    except ValueError:
        pass
    raise Refusal(ProblemType.NOT_FOUND, otherwise)


def path_fingerprint(call: Call) -> str:
    """Return the fingerprint in the path. Raises Refusal for what is none."""
    text: str = call.scope["path_params"]["fingerprint"]
    if _FINGERPRINT.fullmatch(text) is None:
        row = finding(("fingerprint",), "should be 16 hexadecimal digits, as GET /v1/dead-letters has them")
        raise Refusal(ProblemType.INVALID, "This is no fingerprint of a group.", [row])
    return text


def queue_of(call: Call) -> str:
    """Return the queue in the path. Raises Refusal for what no queue can be called."""
    text: str = call.scope["path_params"]["queue"]
    try:
        name = read_name(text)
    except ValueError as error:
        raise Refusal(
            ProblemType.INVALID, "This queue cannot be. Nothing was changed.", [finding(("queue",), str(error))]
        ) from None
    if problem := queue_problem(name):
        raise Refusal(ProblemType.INVALID, "This queue cannot be. Nothing was changed.", [finding(("queue",), problem)])
    return name
