"""Cursors of lists: opaque and signed, good for one tenant and one set of filters, over restarts."""

import base64
import binascii
import hashlib
import hmac
import secrets
from dataclasses import astuple, replace
from typing import Any, Final
from uuid import UUID

from milepost.runtime.settings import Settings
from milepost.store import Filters
from milepost_api.problems import Refusal, finding
from milepost_schemas.problem import ProblemType

_ID: Final = 16
_MAC: Final = 16
_PURPOSE: Final = b"milepost list cursor v1"

Chosen = Filters | tuple[str | None, ...]
"""What a list is a list of: the filters of tasks, or the name of another list and what it was asked for."""


class Cursors:
    """Signs and checks.

    The key comes from the installation's API key, without one from its token secret: who changes that ends all cursors.
    With neither of them cursors are good in this process only.
    """

    def __init__(self, settings: Settings) -> None:
        secret = settings.api_key or settings.token_secret
        known = secrets.token_bytes(32) if secret is None else secret.get_secret_value().encode()
        self._key = hmac.digest(known, _PURPOSE, "sha256")

    def sign(self, tenant: str, filters: Chosen, last: UUID) -> str:
        """Return the cursor of the page after `last`, a task's id or what else says where a page ended."""
        return base64.urlsafe_b64encode(last.bytes + self._mac(tenant, filters, last.bytes)).decode().rstrip("=")

    def read(self, tenant: str, filters: Chosen, cursor: str) -> UUID:
        """Return `last` of the page before. Raises Refusal if we did not sign this for these filters."""
        try:
            raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raw = b""
        last, mac = raw[:_ID], raw[_ID:]
        if len(raw) != _ID + _MAC or not hmac.compare_digest(mac, self._mac(tenant, filters, last)):
            detail = "The cursor is not one of this list. Begin again without it, or repeat the filters it came with."
            raise Refusal(ProblemType.INVALID, detail, [finding(("cursor",), "not signed for this list")])
        return UUID(bytes=last)

    def _mac(self, tenant: str, filters: Chosen, last: bytes) -> bytes:
        shape: tuple[Any, ...]
        if isinstance(filters, tuple):
            shape = filters
        else:
            labels = dict(sorted(filters.labels.items()))
            shape = astuple(replace(filters, labels=labels, states=sorted(filters.states or []), after=None, limit=0))
            if filters.root_id is None:
                # Cursors of before there was this filter stay good.
                shape = shape[:-1]
        message = hashlib.sha256(repr((tenant, shape)).encode()).digest() + last
        return hmac.digest(self._key, message, "sha256")[:_MAC]
