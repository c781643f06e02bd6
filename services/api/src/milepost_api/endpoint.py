"""What every route has in common: who asks, the body, the span, the deadline, and how errors are answered."""

import asyncio
import logging
import time
from time import time_ns
from typing import Any, ClassVar, Final

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from milepost.errors import Unavailable
from milepost.runtime.auth import KeyEnded, Principal
from milepost.runtime.logs import at_work, get_logger, logs_at
from milepost.runtime.tokens import TokenExpired
from milepost.runtime.tracing import entered, new_traceparent, recorded, trace_id_of, valid_traceparent
from milepost_api import meter, spans
from milepost_api.body import read_json_body
from milepost_api.openapi import needed
from milepost_api.problems import Refusal, unavailable
from milepost_api.reply import Headers, Reply, header_of
from milepost_api.services import Services
from milepost_schemas.key import Scope as KeyScope
from milepost_schemas.problem import ProblemType

DEADLINE_S: Final = 5.0
"""No request is worked on for longer, unless its handler says so."""
MIB: Final = 1024 * 1024
_INVALID: Final = b'Bearer error="invalid_token"'
_WATCH_ONLY: Final = (
    "This is a watch token: it is for the stream. Call the API with a key, from a place that may keep one."
)

log = get_logger("milepost.api")


class Call(Request):
    """A request as handlers see it: authenticated, its body read."""

    services: Services
    principal: Principal
    tenant: str
    content: bytes
    traceparent: str
    deadline: asyncio.Timeout

    def waited(self, seconds: float) -> None:
        """Note that so much of the time it takes is what its caller asked for."""
        self.scope["milepost.waited"] = seconds

    def header(self, name: bytes) -> str | None:
        """Return the first header of that lower-case name; None without one."""
        return header_of(self.scope, name)

    def check_again(self) -> None:
        """Raise Refusal (401) if what the caller came with ended while this request waited for something."""
        if remembered(self.services, self.header(b"authorization")) is None:
            raise _unauthenticated("This key is not good any more. Nothing was done.", _INVALID)


class Endpoint(APIRoute):
    """A route whose handler takes a Call and returns a Reply.

    Which scope a key must have is said where the route is described: `openapi_extra={**needs(Scope.READ), …}`. FastAPI
    describes it in OpenAPI; requests go straight to the handler, without FastAPI's dependency solving.
    """

    needs_key: ClassVar[bool] = True
    for_watchers: ClassVar[bool] = False
    """Whether a watch token is enough; what it covers is up to the handler."""
    body_limit: ClassVar[int | None] = None

    def __init__(self, path: str, endpoint: Any, **options: Any) -> None:
        super().__init__(path, endpoint, **{**options, "response_model": None})
        self.requires: KeyScope | None = needed(options.get("openapi_extra"))
        if self.needs_key != (self.requires is not None):
            raise TypeError(f"{path}: say which scope it needs (`needs(…)`), or make it an OpenEndpoint.")
        self.app = self._answer

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.monotonic()
        parent = valid_traceparent(header_of(scope, b"traceparent"))
        name = f"{scope['method']} {self.path_format}"
        traceparent = scope["milepost.traceparent"] = entered(parent, name)
        began_ns = time_ns() if recorded(traceparent) else 0
        failure: Exception | None = None
        try:
            reply = await self._reply(scope, receive, traceparent)
        except Exception as error:  # noqa: BLE001 - whatever it was, the caller gets an answer and we get a line
            failure = error
            reply = self._failed(error, scope)
        if began_ns:
            tenant = scope.get("milepost.tenant")
            spans.answered(traceparent, parent, scope, self.path_format, began_ns, reply.status, tenant, failure)
        if reply.status >= 500 or logs_at(logging.DEBUG):
            log.log(40 if reply.status >= 500 else 10, "answered", route=name, status=reply.status)
        waited = scope.get("milepost.waited", 0.0)
        seconds = time.monotonic() - began - waited
        meter.answered(self.path_format, scope["method"], reply.status, seconds, scope["milepost.traceparent"])
        await reply(scope, receive, send)

    async def _reply(self, scope: Scope, receive: Receive, traceparent: str) -> Reply:
        at_work(None, trace_id_of(traceparent))
        left: Headers = ()
        try:
            call = Call(scope, receive)
            call.services = scope["app"].state.services
            call.traceparent = traceparent
            if self.requires is not None:
                call.principal = await authenticate(call.services, header_of(scope, b"authorization"))
                call.tenant = scope["milepost.tenant"] = call.principal.tenant
                # First: who may not come here takes nothing of what the tenant may ask for.
                self._let_in(call.principal, self.requires)
                left = await call.services.rates.admit(call.tenant, call.services.auth.ring.quotas(call.tenant))
            if self.body_limit is not None:
                call.content = await read_json_body(scope, receive, self.body_limit)
                call.check_again()
            async with asyncio.timeout(DEADLINE_S) as call.deadline:
                reply: Reply = await self.endpoint(call)
        except Refusal as refusal:
            reply = refusal.reply(trace_id_of(traceparent))
        reply.headers.extend(left)
        return reply

    def _let_in(self, principal: Principal, scope: KeyScope) -> None:
        """Raise Refusal (403) unless this key may come here."""
        if principal.only_watches:
            if not self.for_watchers:
                raise Refusal(ProblemType.FORBIDDEN, _WATCH_ONLY)
        elif scope not in principal.scopes:
            has = ", ".join(each for each in KeyScope if each in principal.scopes) or "none"
            detail = f"This needs a key with the scope {scope}; this key's scopes are: {has}."
            raise Refusal(ProblemType.FORBIDDEN, f"{detail} Nothing was done. Use another key, or have one made.")

    def _failed(self, error: Exception, scope: Scope) -> Reply:
        trace_id = trace_id_of(scope["milepost.traceparent"])
        if isinstance(error, Unavailable):
            return unavailable(str(error)).reply(trace_id)
        if isinstance(error, TimeoutError):
            detail = f"There was no answer within {DEADLINE_S:g} s. Try again in a moment, a submission with its key."
            return unavailable(detail).reply(trace_id)
        log.error("request failed", route=self.path_format, exc_info=error)
        return internal().reply(trace_id)


class OpenEndpoint(Endpoint):
    """A route for everybody."""

    needs_key = False


class JsonEndpoint(Endpoint):
    """A route that takes a JSON body of up to 1 MiB."""

    body_limit = MIB


class LargeJsonEndpoint(Endpoint):
    """A route that takes a JSON body of up to 8 MiB."""

    body_limit = 8 * MIB


class WatchEndpoint(Endpoint):
    """A route that watch tokens may use too."""

    for_watchers = True


async def authenticate(services: Services, authorization: str | None) -> Principal:
    """Return who asks. Raises Refusal (401); Unavailable for a key that is new to us while Postgres is away."""
    token = _bearer(authorization)
    principal = remembered(services, authorization)
    if principal is None and services.auth.unseen(token):
        async with asyncio.timeout(DEADLINE_S):
            await services.auth.learn(token)
        principal = remembered(services, authorization)
    if principal is None:
        raise _unauthenticated("This key is not valid. Check MILEPOST_API_KEY.", _INVALID)
    return principal


def remembered(services: Services, authorization: str | None) -> Principal | None:
    """Return who asks, as far as memory tells; None: nobody it knows. Raises Refusal (401) for what has ended."""
    try:
        return services.auth.principal(_bearer(authorization))
    except (TokenExpired, KeyEnded) as error:
        raise _unauthenticated(str(error), _INVALID) from None


def _bearer(authorization: str | None) -> str:
    """Return the key or token. Raises Refusal (401) without one."""
    scheme, _, token = (authorization or "").partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise _unauthenticated("Send your key in the header Authorization: Bearer KEY.", b"Bearer")
    return token


def _unauthenticated(detail: str, challenge: bytes) -> Refusal:
    return Refusal(ProblemType.UNAUTHENTICATED, detail, headers=((b"www-authenticate", challenge),))


def internal() -> Refusal:
    """Return the refusal for a bug of ours."""
    return Refusal(ProblemType.INTERNAL, "This is a fault of Milepost. Its log says more under this trace_id.")


def trace_id_for(scope: Scope) -> str | None:
    """Return the trace of a request that reached no endpoint, or left it by an exception."""
    known: str | None = scope.get("milepost.traceparent")
    return trace_id_of(known or valid_traceparent(header_of(scope, b"traceparent")) or new_traceparent())
