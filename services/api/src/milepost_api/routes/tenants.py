"""/v1/tenants: who there is, and what they may take. For the installation's own tenant."""

from dataclasses import asdict
from typing import Any, Final

from fastapi import APIRouter

from milepost.domain.quotas import Quotas as Limits
from milepost.store.keys import quotas_of
from milepost_api.asked import read_model
from milepost_api.endpoint import Call, Endpoint, JsonEndpoint
from milepost_api.filters import LIMIT, Readers, read_limit, read_query, read_tenant
from milepost_api.openapi import answer, body, needs, parameter, problems
from milepost_api.problems import Refusal
from milepost_api.reply import Reply, json_reply
from milepost_api.shown import as_json
from milepost_api.strict_json import parse
from milepost_schemas.key import Scope
from milepost_schemas.problem import ProblemType
from milepost_schemas.tenant import QuotasRequest, Tenant, TenantPage

_DEFAULT: Final = 50
_READERS: Final[Readers] = {"limit": ("limit", read_limit), "cursor": ("after", read_tenant)}


async def list_tenants(call: Call) -> Reply:
    """Show a page of tenants, by name."""
    _oversee(call)
    asked = read_query(call.scope["query_string"], _READERS)
    limit = asked.get("limit", _DEFAULT)
    rows = await call.services.keys.list_tenants(asked.get("after"), limit + 1)
    page = rows[:limit]
    following = page[-1]["name"] if len(rows) > limit else None
    return json_reply(as_json({"items": [_shown(call, row) for row in page], "next": following}))


async def set_quotas(call: Call) -> Reply:
    """Set what a tenant may take; it holds everywhere within five seconds."""
    _oversee(call)
    try:
        tenant = read_tenant(call.scope["path_params"]["tenant"])
    except ValueError as error:
        raise Refusal(ProblemType.NOT_FOUND, f"No tenant can have this name: it {error}.") from None
    asked = read_model(QuotasRequest, parse(call.content), "These are no quotas. Nothing was changed.")
    row = await call.services.keys.set_quotas(
        tenant, asked.requests, asked.requests_per, asked.queued, asked.queued_bytes
    )
    return json_reply(as_json(_shown(call, row)))


def _oversee(call: Call) -> None:
    if not call.principal.oversees:
        detail = "Tenants are for the installation's own tenant to look after. Nothing was done."
        raise Refusal(ProblemType.FORBIDDEN, detail)


def _shown(call: Call, row: Any) -> dict[str, Any]:
    quotas: Limits = quotas_of(row).over(call.services.auth.ring.defaults)
    return {"name": row["name"], "created_at": row["created_at"], "quotas": asdict(quotas)}


def room(router: APIRouter) -> None:
    """Add the routes."""
    router.add_api_route(
        "/v1/tenants",
        list_tenants,
        methods=["GET"],
        route_class_override=Endpoint,
        tags=["keys"],
        summary="List tenants",
        responses={
            200: answer(TenantPage, "By name."),
            **problems(ProblemType.UNAUTHENTICATED, ProblemType.INVALID),
        },
        openapi_extra={
            **needs(Scope.ADMIN),
            "parameters": [
                parameter("limit", "query", "So many on a page.", type="integer", minimum=1, maximum=LIMIT),
                parameter("cursor", "query", "`next` of the page before."),
            ],
        },
    )
    router.add_api_route(
        "/v1/tenants/{tenant}",
        set_quotas,
        methods=["PUT"],
        route_class_override=JsonEndpoint,
        tags=["keys"],
        summary="Set a tenant's quotas",
        responses={
            200: answer(Tenant, "As they hold, everywhere within five seconds."),
            **problems(
                ProblemType.MALFORMED,
                ProblemType.UNAUTHENTICATED,
                ProblemType.NOT_FOUND,
                ProblemType.TOO_LARGE,
                ProblemType.MEDIA,
                ProblemType.INVALID,
            ),
        },
        openapi_extra={
            **needs(Scope.ADMIN),
            **body(QuotasRequest, "All of them: what is left out is as the settings say."),
            "parameters": [parameter("tenant", "path", "Its name; one that is new is made.")],
        },
    )
