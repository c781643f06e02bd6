"""GET /try/: pages for development, if MILEPOST_PAGES names folders with some."""

import asyncio
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import orjson
from fastapi import APIRouter

from milepost.runtime.settings import Settings
from milepost_api.endpoint import Call, OpenEndpoint
from milepost_api.problems import Refusal
from milepost_api.reply import Reply, json_reply
from milepost_schemas.problem import ProblemType

_TYPES: Final = {
    ".html": b"text/html; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".css": b"text/css; charset=utf-8",
    ".svg": b"image/svg+xml",
}
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*\.[a-z]+")
"""No folders: what is not asked for cannot be reached."""


async def page(call: Call) -> Reply:
    """Give a file of the folders; the first that has it counts."""
    settings = call.services.settings
    name = call.scope.get("path_params", {}).get("name", "index.html")
    content = await asyncio.to_thread(_read, settings.pages, name)
    if content is None:
        raise Refusal(ProblemType.NOT_FOUND, "There is no such page.")
    headers = ((b"content-type", _TYPES[Path(name).suffix]), *_policy(settings))
    return Reply(200, content, headers, page=True)


async def addresses(call: Call) -> Reply:
    """Tell pages where the notifier is."""
    settings = call.services.settings
    return json_reply(orjson.dumps({"stream": settings.stream_url, "events": settings.events_url}))


async def folder(_call: Call) -> Reply:
    """Lead from the name of the folder into it, where its relative links are right."""
    return Reply(308, headers=((b"location", b"/try/"),))


def _read(folders: Sequence[Path], name: str) -> bytes | None:
    if _NAME.fullmatch(name) and Path(name).suffix in _TYPES:
        for place in folders:
            if (file := place / name).is_file():
                return file.read_bytes()
    return None


def _policy(settings: Settings) -> tuple[tuple[bytes, bytes], ...]:
    """Return headers that let a page load what is beside it, and speak to us and the notifier: no other place."""
    notifier = " ".join(
        f"{url.scheme}://{url.netloc}" for url in map(urlsplit, (settings.stream_url, settings.events_url))
    )
    policy = (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        f"connect-src 'self' {notifier}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return (
        (b"content-security-policy", policy.encode()),
        (b"cross-origin-opener-policy", b"same-origin"),
    )


def room(router: APIRouter) -> None:
    """Add the routes."""
    for path, handler in (
        ("/try", folder),
        ("/try/", page),
        ("/try/addresses.json", addresses),
        ("/try/{name}", page),
    ):
        router.add_api_route(path, handler, methods=["GET"], route_class_override=OpenEndpoint, include_in_schema=False)
