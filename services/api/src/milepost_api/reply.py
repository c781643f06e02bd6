"""What goes back: bytes and headers, sent without a detour."""

from collections.abc import Iterable
from typing import Any, Final

from starlette.types import Receive, Scope, Send

Headers = Iterable[tuple[bytes, bytes]]

JSON: Final = (b"content-type", b"application/json")
_NO_PAGE: Final = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")
_NO_STORE: Final = (b"cache-control", b"no-store")
REVALIDATE: Final = (b"cache-control", b"private, no-cache")
"""For what has an ETag: it may be kept, but not shown without asking."""


class Reply:
    """A whole response. An ASGI application, so that it can stand where Starlette wants a Response."""

    __slots__ = ("body", "headers", "status")

    def __init__(
        self, status: int, body: bytes = b"", headers: Headers = (), *, cache: bool = False, page: bool = False
    ) -> None:
        """`headers` have lower-case names, and a Cache-Control with `cache`, a Content-Security-Policy with `page`."""
        self.status = status
        self.body = body
        self.headers = [*headers] if page else [*headers, _NO_PAGE]
        if not cache:
            self.headers.append(_NO_STORE)
        if status != 304:
            self.headers.append((b"content-length", b"%d" % len(body)))

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Send it."""
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": self.body})


def json_reply(body: bytes, status: int = 200, *more: tuple[bytes, bytes]) -> Reply:
    """Return a reply with JSON that is already bytes."""
    return Reply(status, body, (JSON, *more))


def header_of(scope: Any, name: bytes) -> str | None:
    """Return the first header of that lower-case name, read as Latin-1 as HTTP does; None without one."""
    for key, value in scope["headers"]:
        if key == name:
            text: str = value.decode("latin-1")
            return text
    return None
