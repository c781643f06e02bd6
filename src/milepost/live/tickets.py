"""Tickets: what lets a client in by its URL, once and soon, where a token cannot be sent otherwise."""

import hashlib
import re
import secrets
import time
from typing import Any, Final
from uuid import UUID

from redis.asyncio import Redis
from redis.exceptions import RedisError

from milepost.domain.grant import Grant
from milepost.errors import Unavailable
from milepost.runtime.tokens import TICKET, TokenExpired, Tokens, Verified

LASTS_S: Final = 30
_FORM: Final = re.compile(r"[A-Za-z0-9_-]{32}")


class Tickets:
    """Redis keeps, under the hash of a ticket, a signed token that is good for nothing else.

    So who reads Redis finds no ticket, and who writes to it cannot make one.
    """

    def __init__(self, redis: Redis, tokens: Tokens) -> None:
        self._redis: Any = redis
        self._tokens = tokens

    async def issue(self, tenant: str, grant: Grant, ttl: int, key: UUID | None = None) -> tuple[str, float]:
        """Return a ticket for a session of `ttl` seconds, and until when it lets in (Unix time). Raises Unavailable.

        `key` is the id of the API key it is made with: what it opens ends with that.
        """
        ticket = secrets.token_urlsafe(24)
        token, _ = self._tokens.sign(tenant, grant, ttl, audience=TICKET, key=key)
        expires = time.time() + LASTS_S
        try:
            await self._redis.set(_key(ticket), token, ex=LASTS_S)
        except (RedisError, OSError) as error:
            raise Unavailable("Redis does not answer, where tickets are kept. Try again in a moment.") from error
        return ticket, expires

    async def redeem(self, ticket: str) -> Verified | None:
        """Return what a ticket stands for, and make it worthless; None if it is worthless. Raises Unavailable."""
        if _FORM.fullmatch(ticket) is None:
            return None
        try:
            token = await self._redis.getdel(_key(ticket))
        except (RedisError, OSError) as error:
            raise Unavailable("Redis does not answer, where tickets are kept. Try again in a moment.") from error
        try:
            return None if token is None else self._tokens.verify(token.decode(), audience=TICKET)
        except TokenExpired:
            return None


def _key(ticket: str) -> str:
    return "mp:ticket:" + hashlib.sha256(ticket.encode()).hexdigest()
