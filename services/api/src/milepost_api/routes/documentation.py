"""GET /v1/openapi.json and /v1/docs."""

import base64
import hashlib
import re
from typing import Final

import orjson
from fastapi import APIRouter
from fastapi.openapi.docs import get_swagger_ui_html

from milepost_api.endpoint import Call, OpenEndpoint
from milepost_api.reply import Reply, json_reply

_PAGE: Final = bytes(get_swagger_ui_html(openapi_url="/v1/openapi.json", title="Milepost API").body)
_SCRIPTS: Final = " ".join(
    f"'sha256-{base64.b64encode(hashlib.sha256(script).digest()).decode()}'"
    for script in re.findall(rb"<script>(.*?)</script>", _PAGE, re.DOTALL)
)
"""The page's own, and no other."""
_CDN: Final = "https://cdn.jsdelivr.net"
_POLICY: Final = (
    f"default-src 'none'; script-src {_CDN} {_SCRIPTS}; style-src {_CDN} 'unsafe-inline'; "
    "img-src 'self' data: https://fastapi.tiangolo.com; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HTML: Final = (
    (b"content-type", b"text/html; charset=utf-8"),
    (b"x-frame-options", b"DENY"),
    (b"content-security-policy", _POLICY.encode()),
)


async def openapi(call: Call) -> Reply:
    """Give the OpenAPI 3.1 document."""
    return json_reply(orjson.dumps(call.app.openapi()))


async def docs(_call: Call) -> Reply:
    """Give a page that shows it. The page loads Swagger UI from jsDelivr."""
    return Reply(200, _PAGE, _HTML, page=True)


def room(router: APIRouter) -> None:
    """Add the routes."""
    for path, handler in (("/v1/openapi.json", openapi), ("/v1/docs", docs)):
        router.add_api_route(path, handler, methods=["GET"], route_class_override=OpenEndpoint, include_in_schema=False)
