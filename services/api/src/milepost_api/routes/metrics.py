"""GET /metrics: for whoever operates the installation. Without a key on MILEPOST_METRICS_PORT."""

from fastapi import APIRouter

from milepost_api.endpoint import Call, Endpoint
from milepost_api.openapi import needs
from milepost_api.problems import Refusal
from milepost_api.reply import Reply
from milepost_schemas.key import Scope
from milepost_schemas.problem import ProblemType


async def metrics(call: Call) -> Reply:
    """Show the metrics of this process, and what it asks Postgres of the whole installation."""
    if not call.principal.own:
        detail = "Metrics tell of all tenants: they are for the installation's own tenant. Use a key of that one."
        raise Refusal(ProblemType.FORBIDDEN, detail)
    text, kind = await call.services.exposition.page(call.header(b"accept"))
    return Reply(200, text, ((b"content-type", kind.encode()),))


def room(router: APIRouter) -> None:
    """Add the route. It is not described in OpenAPI: docs/metrics.md says what is in it."""
    for prefix in ("/v1", ""):
        router.add_api_route(
            f"{prefix}/metrics",
            metrics,
            methods=["GET"],
            route_class_override=Endpoint,
            include_in_schema=False,
            openapi_extra=needs(Scope.OPERATE),
        )
