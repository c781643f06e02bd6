"""/v1/queues/{queue}/retention: for how long finished tasks are kept. For the installation's own tenant."""

import math
from typing import Final, Literal

from fastapi import APIRouter

from milepost.store.retention import QUEUES_MOST, Keep
from milepost_api.asked import queue_of, read_model
from milepost_api.endpoint import Call, JsonEndpoint
from milepost_api.openapi import answer, body, needs, parameter, problems
from milepost_api.problems import Refusal
from milepost_api.reply import Reply, json_reply
from milepost_api.strict_json import parse
from milepost_schemas.key import Scope
from milepost_schemas.problem import ProblemType
from milepost_schemas.queue import Retention, RetentionRequest

_QUEUE: Final = parameter("queue", "path", "The queue.")
_REFUSED: Final = "Nothing was changed."


async def set_retention(call: Call) -> Reply:
    """Say for how long finished tasks of a queue are kept, whosever they are."""
    if not call.principal.oversees:
        detail = (
            "How long tasks of all tenants are kept is for the installation's own tenant to say. "
            f"It takes a key of that tenant with the scope admin. {_REFUSED}"
        )
        raise Refusal(ProblemType.FORBIDDEN, detail)
    asked = read_model(RetentionRequest, parse(call.content), f"This is no retention. {_REFUSED}")
    row = await call.services.retention.set_retention(queue_of(call), _seconds(asked.finished), _seconds(asked.failed))
    if row is None:
        detail = (
            f"{QUEUES_MOST:,} queues have a retention of their own, as many as may have. {_REFUSED} End some first."
        )
        raise Refusal(ProblemType.QUOTA, detail)
    keep = Keep.of(call.services.settings).over(row)
    return json_reply(shown_retention(keep).model_dump_json().encode())


def shown_retention(keep: Keep) -> Retention:
    """Return it as the API shows it."""
    return Retention(finished=_shown(keep.finished_s), failed=_shown(keep.failed_s))


def _shown(seconds: float) -> float | Literal["forever"]:
    return "forever" if seconds == math.inf else seconds


def _seconds(asked: float | Literal["forever"] | None) -> float | None:
    return math.inf if asked == "forever" else asked


def room(router: APIRouter) -> None:
    """Add the route."""
    router.add_api_route(
        "/v1/queues/{queue}/retention",
        set_retention,
        methods=["PUT"],
        route_class_override=JsonEndpoint,
        tags=["queues"],
        summary="Set how long finished tasks are kept",
        responses={
            200: answer(Retention, "As it holds from now on. What is older is deleted within minutes."),
            **problems(
                ProblemType.MALFORMED,
                ProblemType.UNAUTHENTICATED,
                ProblemType.FORBIDDEN,
                ProblemType.QUOTA,
                ProblemType.TOO_LARGE,
                ProblemType.MEDIA,
                ProblemType.INVALID,
            ),
        },
        openapi_extra={
            **needs(Scope.ADMIN),
            **body(RetentionRequest, "Both: what is left out is as the settings say."),
            "parameters": [_QUEUE],
        },
    )
