"""GET /v1/quotas: what the caller's tenant may take, and what of it is taken."""

from dataclasses import asdict

from fastapi import APIRouter

from milepost.domain.quotas import Quotas
from milepost.errors import Unavailable
from milepost.store.records import Waiting
from milepost_api.endpoint import Call, Endpoint
from milepost_api.openapi import IF_NONE_MATCH, needs, polled, problems
from milepost_api.reply import Reply
from milepost_api.shown import as_json, conditional
from milepost_schemas.key import Scope
from milepost_schemas.problem import ProblemType
from milepost_schemas.tenant import OwnQuotas


async def get_quotas(call: Call) -> Reply:
    """Show the quotas of the key's tenant, with what is taken of them."""
    services, tenant = call.services, call.tenant
    quotas = services.auth.ring.quotas(tenant)
    left = services.rates.left(tenant, quotas)
    waiting = await _waiting(call, quotas)
    used = {
        "requests": None if left is None or quotas.requests is None else quotas.requests - left,
        "queued": None if waiting is None or quotas.queued is None else waiting.tasks,
        "queued_bytes": None if waiting is None or quotas.queued_bytes is None else waiting.bytes,
    }
    body = as_json({"tenant": tenant, "quotas": asdict(quotas), "used": used})
    return conditional(body, call.header(b"if-none-match"))


async def _waiting(call: Call, quotas: Quotas) -> Waiting | None:
    backlog = call.services.backlog
    if quotas.counts_tasks:
        try:
            await backlog.look(call.tenant, quotas)
        except Unavailable:
            return None
        return backlog.waiting(call.tenant)
    return None


def room(router: APIRouter) -> None:
    """Add the route."""
    router.add_api_route(
        "/v1/quotas",
        get_quotas,
        methods=["GET"],
        route_class_override=Endpoint,
        tags=["keys"],
        summary="Get the tenant's quotas",
        responses={
            **polled(OwnQuotas, "Those of the key's tenant, with what is taken of them."),
            **problems(ProblemType.UNAUTHENTICATED),
        },
        openapi_extra={**needs(Scope.READ), "parameters": [IF_NONE_MATCH]},
    )
