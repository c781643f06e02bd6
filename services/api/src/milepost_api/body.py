"""Reading a request's body: bounded in size and in time, whatever its headers claim."""

import asyncio
from typing import Any, Final

from starlette.types import Receive, Scope

from milepost_api.problems import Refusal
from milepost_api.reply import header_of
from milepost_schemas.problem import ProblemType

BODY_S: Final = 30.0
"""A body has so long to arrive."""
_DRAIN_BYTES: Final = 32 * 1024 * 1024
_DRAIN_S: Final = 2.0
_CLOSE: Final = (b"connection", b"close")


async def read_json_body(scope: Scope, receive: Receive, limit: int) -> bytes:
    """Return the whole body. Raises Refusal: 415 for another media type or a coding, 413 beyond `limit` bytes."""
    _check_media(scope)
    declared = header_of(scope, b"content-length")
    if declared is not None and declared.isdigit() and int(declared) > limit:
        await _refuse_size(scope, receive, limit)
    try:
        async with asyncio.timeout(BODY_S):
            message = await receive()
            if message.get("more_body") or message["type"] != "http.request":
                return await _collect(scope, receive, limit, message)
    except TimeoutError:
        detail = f"The body did not arrive within {BODY_S:g} s. Nothing was stored."
        raise Refusal(ProblemType.MALFORMED, detail, headers=(_CLOSE,)) from None
    whole: bytes = message.get("body", b"")
    if len(whole) > limit:
        await _refuse_size(scope, receive, limit, ended=True)
    return whole


async def _collect(scope: Scope, receive: Receive, limit: int, message: Any) -> bytes:
    body = bytearray()
    while True:
        if message["type"] == "http.disconnect":
            raise Refusal(ProblemType.MALFORMED, "The connection broke before the body had arrived.")
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > limit:
            await _refuse_size(scope, receive, limit, ended=not more)
        if not more:
            return bytes(body)
        message = await receive()


def _check_media(scope: Scope) -> None:
    media = header_of(scope, b"content-type") or ""
    if media != "application/json" and media.partition(";")[0].strip().lower() != "application/json":
        raise Refusal(ProblemType.MEDIA, "Send the body as JSON, with the header Content-Type: application/json.")
    if (header_of(scope, b"content-encoding") or "identity").strip().lower() != "identity":
        raise Refusal(ProblemType.MEDIA, "Send the body as it is: compressed bodies are not taken.")


async def _refuse_size(scope: Scope, receive: Receive, limit: int, *, ended: bool = False) -> None:
    """Raise Refusal, after a bounded effort to let the caller finish: who is still sending does not read answers."""
    if not ended and header_of(scope, b"expect") is None:
        dropped = 0
        try:
            async with asyncio.timeout(_DRAIN_S):
                while dropped < _DRAIN_BYTES:
                    message = await receive()
                    dropped += len(message.get("body", b""))
                    if not message.get("more_body", False):
                        break
        except TimeoutError:
            pass
    detail = f"The body is larger than {limit} bytes. Nothing was stored; put large input elsewhere and send its URL."
    raise Refusal(ProblemType.TOO_LARGE, detail, headers=(_CLOSE,))
