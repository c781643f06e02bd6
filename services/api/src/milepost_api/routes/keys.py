"""/v1/keys: made, listed, revoked."""

from typing import Final

import uuid_utils.compat as uuids
from fastapi import APIRouter

from milepost.runtime.keys import new_secret
from milepost.store.keys import KEYS_MOST, NewKey
from milepost_api.asked import path_id, read_model
from milepost_api.endpoint import Call, Endpoint, JsonEndpoint
from milepost_api.filters import LIMIT, Readers, read_limit, read_query, read_tenant, read_true
from milepost_api.openapi import answer, body, needs, parameter, problems
from milepost_api.problems import Refusal
from milepost_api.reply import Reply, json_reply
from milepost_api.shown import as_json
from milepost_api.strict_json import parse
from milepost_schemas.key import Key, KeyPage, KeyRequest, Scope
from milepost_schemas.key import NewKey as NewKeyShown
from milepost_schemas.problem import ProblemType

_DEFAULT: Final = 50
_LIST: Final = "keys"
_MISSING: Final = "You have no key with this id; GET /v1/keys lists them."
_READERS: Final[Readers] = {
    "tenant": ("tenant", read_tenant),
    "revoked": ("revoked", read_true),
    "limit": ("limit", read_limit),
    "cursor": ("cursor", str),
}


async def create(call: Call) -> Reply:
    """Make a key and show it, once."""
    asked = read_model(KeyRequest, parse(call.content), "This does not describe a key. None was made.")
    tenant = _tenant(call, asked.tenant)
    secret = new_secret()
    row = await call.services.keys.create_key(
        NewKey(
            uuids.uuid7(),
            tenant,
            secret.digest,
            secret.prefix,
            asked.name,
            list(asked.scopes),
            call.principal.key,
            asked.expires_at,
            asked.expires_in,
        )
    )
    if row is None:
        detail = f"{tenant} has {KEYS_MOST:,} keys, as many as it may have. None was made; revoke some first."
        raise Refusal(ProblemType.QUOTA, detail)
    return json_reply(as_json({**row, "key": secret.key}), 201)


async def list_keys(call: Call) -> Reply:
    """Show a page of keys, the newest first, never the keys themselves."""
    cursors = call.services.cursors
    asked = read_query(call.scope["query_string"], _READERS)
    limit, revoked = asked.get("limit", _DEFAULT), asked.get("revoked", False)
    tenant = _tenant(call, asked.get("tenant"))
    shape = (_LIST, tenant, str(revoked))
    before = cursors.read(call.tenant, shape, asked["cursor"]) if "cursor" in asked else None
    rows = await call.services.keys.list_keys(tenant, before, limit + 1, revoked=revoked)
    page = rows[:limit]
    following = cursors.sign(call.tenant, shape, page[-1]["id"]) if len(rows) > limit else None
    return json_reply(as_json({"items": [dict(row) for row in page], "next": following}))


async def revoke(call: Call) -> Reply:
    """Revoke a key: here at once, everywhere within five seconds. Repeating it changes nothing."""
    whose = None if call.principal.oversees else call.tenant
    row = await call.services.keys.revoke_key(path_id(call, _MISSING), whose)
    if row is None:
        raise Refusal(ProblemType.NOT_FOUND, _MISSING)
    call.services.auth.ring.revoke([row["id"]])
    return json_reply(as_json(dict(row)))


def _tenant(call: Call, asked: str | None) -> str:
    """Return whose keys this is about. Raises Refusal (403)."""
    if asked is None or asked == call.tenant:
        return call.tenant
    if not call.principal.oversees:
        detail = "Keys of another tenant are for the installation's own tenant to look after. Nothing was done."
        raise Refusal(ProblemType.FORBIDDEN, detail)
    return asked


def room(router: APIRouter) -> None:
    """Add the routes."""
    router.add_api_route(
        "/v1/keys",
        create,
        methods=["POST"],
        name="make_key",
        route_class_override=JsonEndpoint,
        tags=["keys"],
        summary="Make a key",
        status_code=201,
        responses={
            201: answer(NewKeyShown, "The only answer that holds the key itself."),
            **problems(
                ProblemType.MALFORMED,
                ProblemType.UNAUTHENTICATED,
                ProblemType.QUOTA,
                ProblemType.TOO_LARGE,
                ProblemType.MEDIA,
                ProblemType.INVALID,
            ),
        },
        openapi_extra={**needs(Scope.ADMIN), **body(KeyRequest, "A name is enough.")},
    )
    router.add_api_route(
        "/v1/keys",
        list_keys,
        methods=["GET"],
        route_class_override=Endpoint,
        tags=["keys"],
        summary="List keys",
        responses={
            200: answer(KeyPage, "The newest first."),
            **problems(ProblemType.UNAUTHENTICATED, ProblemType.INVALID),
        },
        openapi_extra={
            **needs(Scope.ADMIN),
            "parameters": [
                parameter("tenant", "query", "Another tenant's, with a key of the installation's own tenant."),
                parameter("revoked", "query", "The revoked ones too.", type="boolean", default=False),
                parameter("limit", "query", "So many on a page.", type="integer", minimum=1, maximum=LIMIT),
                parameter("cursor", "query", "`next` of the page before, with the same parameters."),
            ],
        },
    )
    router.add_api_route(
        "/v1/keys/{id}",
        revoke,
        methods=["DELETE"],
        name="revoke_key",
        route_class_override=Endpoint,
        tags=["keys"],
        summary="Revoke a key",
        responses={
            200: answer(Key, "Revoked; it opens nothing any more, within five seconds everywhere."),
            **problems(ProblemType.UNAUTHENTICATED, ProblemType.NOT_FOUND),
        },
        openapi_extra={
            **needs(Scope.ADMIN),
            "parameters": [parameter("id", "path", "The key's id.", type="string", format="uuid")],
        },
    )
