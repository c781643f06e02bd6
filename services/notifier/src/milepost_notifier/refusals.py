"""Requests over HTTP that get no stream: problem+json, as from the api."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import orjson
from aiohttp import hdrs, web

from milepost.errors import MilepostError
from milepost.runtime.logs import get_logger
from milepost.runtime.metrics.catalogue import REFUSED
from milepost.runtime.tracing import new_traceparent, trace_id_of, valid_traceparent
from milepost_schemas.problem import MEDIA_TYPE, ProblemType

log = get_logger("milepost.notifier.http")


_ELSEWHERE: Final = (
    "This is the notifier. Its streams are at /v1/tasks/ID/events and /v1/events; the API is at another address."
)


class Refusal(MilepostError):
    """The request cannot be done; `headers` go with the answer."""

    def __init__(self, kind: ProblemType, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.headers = headers or {}

    def response(self, trace_id: str | None) -> web.Response:
        """Return the answer; `trace_id` is that of the request."""
        body = orjson.dumps(self.kind.members(self.detail, trace_id))
        headers = {**self.headers, hdrs.CACHE_CONTROL: "no-store"}
        return web.Response(status=self.kind.value.status, body=body, content_type=MEDIA_TYPE, headers=headers)


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


def internal() -> Refusal:
    """Return the refusal for a bug of ours."""
    return Refusal(ProblemType.INTERNAL, "This is a fault of Milepost. Its log says more under this trace_id.")


@web.middleware
async def answering(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Answer whatever is raised as a problem document."""
    try:
        return await handler(request)
    except Refusal as refusal:
        REFUSED.add(1, str(refusal.kind.value.status))
        return refusal.response(_trace_of(request))
    except web.HTTPMethodNotAllowed as error:
        allowed = ", ".join(sorted(error.allowed_methods))
        refused = Refusal(ProblemType.METHOD, f"Here you can use {allowed}.", {hdrs.ALLOW: allowed})
        return refused.response(_trace_of(request))
    except web.HTTPNotFound:
        refused = Refusal(ProblemType.NOT_FOUND, _ELSEWHERE)
        return refused.response(_trace_of(request))
    except ConnectionError:
        raise  # the client is gone, and nobody is there to be answered
    except Exception:
        trace_id = _trace_of(request)
        log.exception("a stream failed", trace_id=trace_id)
        return internal().response(trace_id)


def _trace_of(request: web.Request) -> str | None:
    """Return the trace the client named, as the api does, or a new one's."""
    return trace_id_of(valid_traceparent(request.headers.get("traceparent")) or new_traceparent())
