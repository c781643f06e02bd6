"""Requests over HTTP that get no stream: problem+json, as from the api."""

from collections.abc import Awaitable, Callable, Mapping

import orjson
from aiohttp import hdrs, web

from milepost.errors import MilepostError
from milepost.runtime.logs import get_logger
from milepost_schemas.problem import MEDIA_TYPE, ProblemType

log = get_logger("milepost.notifier.http")


class Refusal(MilepostError):
    """The request cannot be done; `headers` go with the answer."""

    def __init__(self, kind: ProblemType, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.headers = headers or {}

    def response(self) -> web.Response:
        """Return the answer."""
        row = self.kind.value
        problem = {"type": self.kind.uri, "title": row.title, "status": row.status, "detail": self.detail}
        headers = {**self.headers, hdrs.CACHE_CONTROL: "no-store"}
        return web.Response(status=row.status, body=orjson.dumps(problem), content_type=MEDIA_TYPE, headers=headers)


def bad(detail: str) -> Refusal:
    """Return the refusal for what cannot be understood."""
    return Refusal(ProblemType.BAD_REQUEST, detail)


def unauthenticated(detail: str, *, given: bool) -> Refusal:
    """Return the refusal for want of a key; `given`: there was one, and it is wrong."""
    challenge = 'Bearer error="invalid_token"' if given else "Bearer"
    return Refusal(ProblemType.UNAUTHENTICATED, detail, {hdrs.WWW_AUTHENTICATE: challenge})


def unavailable(detail: str, seconds: int = 2) -> Refusal:
    """Return the refusal for now; `seconds` says when to come again."""
    return Refusal(ProblemType.UNAVAILABLE, detail, {hdrs.RETRY_AFTER: str(seconds)})


def too_many(detail: str, seconds: int = 5) -> Refusal:
    """Return the refusal of one client too many; `seconds` says when to come again."""
    return Refusal(ProblemType.TOO_MANY, detail, {hdrs.RETRY_AFTER: str(seconds)})


@web.middleware
async def answering(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Answer whatever is raised as a problem document."""
    try:
        return await handler(request)
    except Refusal as refusal:
        return refusal.response()
    except web.HTTPMethodNotAllowed as error:
        allowed = ", ".join(sorted(error.allowed_methods))
        return Refusal(ProblemType.METHOD, f"Here you can use {allowed}.", {hdrs.ALLOW: allowed}).response()
    except web.HTTPNotFound:
        return Refusal(ProblemType.NOT_FOUND, "Streams are at /v1/tasks/ID/events and /v1/events.").response()
    except ConnectionError:
        raise  # the client is gone, and nobody is there to be answered
    except Exception:
        log.exception("a stream failed")
        return Refusal(ProblemType.INTERNAL, "This is a fault of Milepost. Its log says more.").response()
