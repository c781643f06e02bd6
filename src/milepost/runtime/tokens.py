"""Watch tokens: JWTs (HS256 and nothing else) that let a page watch one thing for a while. See docs/protocol.md."""

import hmac
import secrets
import time
from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple, Self
from uuid import UUID

import jwt
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from milepost.domain.feed_filter import ALL, filter_of
from milepost.domain.grant import Grant
from milepost.errors import MilepostError
from milepost.runtime.settings import Settings
from milepost_schemas.feed import FeedFilter
from milepost_schemas.watch import TTL_MAX, Label

ISSUER: Final = "milepost"
STREAM: Final = "milepost.stream"
"""Audience of what is said in hello or in an Authorization header."""
TICKET: Final = "milepost.ticket"
"""Audience of what a ticket stands for; it never leaves our servers."""
TOKEN_MAX: Final = 4096
"""Longer ones are not even looked at."""
_ALGORITHM: Final = "HS256"
_REQUIRED: Final = ["iss", "aud", "sub", "iat", "exp", "jti"]
_SKEW_S: Final = 10
"""So far clocks of those who sign and those who check may differ."""
_PURPOSE: Final = b"milepost watch token v1"


class TokenExpired(MilepostError):
    """A token of ours, but its time is over."""


class NoSecret(MilepostError):
    """Nothing is set that tokens could be signed with."""


class Verified(NamedTuple):
    """What a token says. `expires_at` is Unix time, `lasts` the seconds until then.

    `key` is the id of the API key it was made with, whose end is its end; None: the key in the settings.
    """

    tenant: str
    grant: Grant
    expires_at: float
    lasts: float
    key: UUID | None = None


class _Claims(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    sub: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")
    iat: int
    exp: int
    jti: str = Field(min_length=1, max_length=64)
    key: UUID | None = None
    task: UUID | None = None
    label: Label | None = None
    feed: Literal["tasks"] | None = None
    filter: FeedFilter | None = None
    all: Literal[True] | None = None

    @model_validator(mode="after")
    def _one_thing(self) -> Self:
        if [self.task, self.label, self.feed, self.all].count(None) != 3:
            raise ValueError("a token covers exactly one thing")
        if self.filter is not None and self.feed is None:
            raise ValueError("a filter is of a feed")
        return self

    @property
    def grant(self) -> Grant:
        label = None if self.label is None else (self.label.name, self.label.value)
        return Grant(task=self.task, label=label, feed=self.feed is not None, filter=filter_of(self.filter))


class Tokens:
    """Signs with the first secret, and accepts what any of them signed."""

    def __init__(self, secrets_: Sequence[bytes]) -> None:
        self._secrets = tuple(secrets_)

    @classmethod
    def of(cls, settings: Settings) -> "Tokens":
        """Return what the settings say; without any secret or API key there are no tokens."""
        found = [] if settings.token_secret is None else [settings.token_secret.get_secret_value().encode()]
        if not found and settings.api_key is not None:
            found = [hmac.digest(settings.api_key.get_secret_value().encode(), _PURPOSE, "sha256")]
        return cls([*found, *(secret.get_secret_value().encode() for secret in settings.token_secrets_old)])

    def sign(
        self,
        tenant: str,
        grant: Grant,
        ttl: int,
        now: float | None = None,
        *,
        audience: str = STREAM,
        key: UUID | None = None,
    ) -> tuple[str, int]:
        """Return a token that is good for `ttl` seconds, and when it expires (Unix time).

        `key` is the id of the API key it is made with. Raises MilepostError when there is nothing to sign with.
        """
        if not self._secrets:
            raise NoSecret("There is no secret to sign watch tokens with. Set MILEPOST_TOKEN_SECRET.")
        issued = int(time.time() if now is None else now)
        claims: dict[str, Any] = {
            "iss": ISSUER,
            "aud": audience,
            "sub": tenant,
            "iat": issued,
            "exp": issued + ttl,
            "jti": secrets.token_urlsafe(12),
        }
        if key is not None:
            claims["key"] = str(key)
        if grant.task is not None:
            claims["task"] = str(grant.task)
        elif grant.label is not None:
            claims["label"] = {"name": grant.label[0], "value": grant.label[1]}
        elif grant.feed:
            claims["feed"] = "tasks"
            if grant.filter != ALL:
                claims["filter"] = grant.filter.asked()
        else:
            claims["all"] = True
        return jwt.encode(claims, self._secrets[0], algorithm=_ALGORITHM), claims["exp"]

    def verify(self, token: str, *, audience: str = STREAM) -> Verified | None:
        """Return what a token says; None for anything that is not one of ours. Raises TokenExpired."""
        if len(token) > TOKEN_MAX or token.count(".") != 2:
            return None
        for secret in self._secrets:
            try:
                said = jwt.decode(
                    token,
                    secret,
                    algorithms=[_ALGORITHM],
                    audience=audience,
                    issuer=ISSUER,
                    # Both are compared below, with one reading of the clock.
                    options={"require": _REQUIRED, "verify_exp": False, "verify_iat": False, "strict_aud": True},
                )
                claims = _Claims.model_validate(said)
            except jwt.InvalidSignatureError:
                continue
            except (jwt.PyJWTError, ValidationError, ValueError, RecursionError):
                return None
            # Who may watch everything has a key; only a ticket stands for that.
            return None if claims.all and audience != TICKET else _in_time(claims, time.time())
        return None


def _in_time(claims: _Claims, now: float) -> Verified | None:
    """Return what a genuine token says; None if nobody may sign for so long. Raises TokenExpired."""
    if claims.iat > now + _SKEW_S or claims.exp - claims.iat > TTL_MAX:
        return None
    if claims.exp <= now:
        raise TokenExpired("The watch token has expired. Ask for another one.")
    return Verified(claims.sub, claims.grant, claims.exp, claims.exp - now, claims.key)
