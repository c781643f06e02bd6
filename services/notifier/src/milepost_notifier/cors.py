"""Which pages may read streams over HTTP: those of the origins on the list, exactly."""

from aiohttp import hdrs, web

from milepost_notifier.refusals import Refusal
from milepost_schemas.problem import ProblemType

ALLOWED_HEADERS = "Authorization, Cache-Control, Last-Event-ID, traceparent, tracestate, baggage"
KEPT_S = 600
"""Browsers may remember the answer to a preflight for so long."""


class Cors:
    """The list."""

    def __init__(self, origins: frozenset[str]) -> None:
        self._origins = origins

    def check(self, request: web.Request) -> str | None:
        """Return the page's origin; None for a program, which sends none. Raises Refusal for any other page."""
        given = request.headers.getall(hdrs.ORIGIN, [])
        if not given:
            return None
        if len(given) > 1 or given[0] not in self._origins:
            raise Refusal(
                ProblemType.FORBIDDEN, "Pages of this origin may not read streams; MILEPOST_ALLOWED_ORIGINS is exact."
            )
        return given[0]

    async def preflight(self, request: web.Request) -> web.Response:
        """Answer what a browser asks before a request with headers of the page's."""
        if self.check(request) is None:
            raise Refusal(ProblemType.METHOD, "Here you can use GET.", {hdrs.ALLOW: hdrs.METH_GET})
        return web.Response(
            status=204,
            headers={
                hdrs.ACCESS_CONTROL_ALLOW_METHODS: hdrs.METH_GET,
                hdrs.ACCESS_CONTROL_ALLOW_HEADERS: ALLOWED_HEADERS,
                hdrs.ACCESS_CONTROL_MAX_AGE: str(KEPT_S),
            },
        )

    async def prepare(self, request: web.Request, response: web.StreamResponse) -> None:
        """Let the page read the answer, whatever it is, if its origin is on the list."""
        response.headers[hdrs.VARY] = hdrs.ORIGIN
        try:
            origin = self.check(request)
        except Refusal:
            return
        if origin is not None:
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = origin
            response.headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = hdrs.RETRY_AFTER
