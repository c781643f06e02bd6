"""GET /v1/openapi.json and /v1/docs."""

from typing import Final

import orjson
from fastapi import APIRouter
from fastapi.openapi.docs import get_swagger_ui_html

from milepost_api.endpoint import Call, OpenEndpoint
from milepost_api.reply import Reply, json_reply

_HTML: Final = (
    (b"content-type", b"text/html; charset=utf-8"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"frame-ancestors 'none'; base-uri 'none'; form-action 'self'; object-src 'none'"),
)


async def openapi(call: Call) -> Reply:
    """Give the OpenAPI 3.1 document."""
    return json_reply(orjson.dumps(call.app.openapi()))


async def docs(_call: Call) -> Reply:
    """Give a page that shows it. The page loads Swagger UI from jsDelivr."""
    page = get_swagger_ui_html(openapi_url="/v1/openapi.json", title="Milepost API")
    return Reply(200, bytes(page.body), _HTML)


def room(router: APIRouter) -> None:
    """Add the routes."""
    for path, handler in (("/v1/openapi.json", openapi), ("/v1/docs", docs)):
        router.add_api_route(path, handler, methods=["GET"], route_class_override=OpenEndpoint, include_in_schema=False)
