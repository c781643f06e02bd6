"""What a client shows to be let in: a key or token for good, or tokens that are fetched as they run out."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from milepost.errors import MilepostError, Unreachable

FetchToken = Callable[[], Awaitable[str]]
FETCH_S: Final = 10.0


class Credential:
    """One for all connections of a client, so that many that find a token expired fetch one together."""

    def __init__(self, key: str, fetch: FetchToken | None = None) -> None:
        """`fetch` gets a token; with it `key` is not used."""
        self._fetch = fetch
        self._known = None if fetch is not None else key
        self._fetching = asyncio.Lock()

    @property
    def renewable(self) -> bool:
        """Whether another can be had."""
        return self._fetch is not None

    async def get(self) -> str:
        """Return what to show now. Raises Unreachable when no token can be had."""
        if self._known is None:
            async with self._fetching:
                if self._known is None:
                    self._known = await self._fetched()
        return self._known

    async def instead_of(self, used: str) -> str:
        """Return another than `used`, which is not good any more. Raises Unreachable."""
        if self._known == used and self.renewable:
            self._known = None
        return await self.get()

    async def _fetched(self) -> str:
        assert self._fetch is not None  # noqa: S101 - otherwise there is a key
        try:
            async with asyncio.timeout(FETCH_S):
                return await self._fetch()
        except MilepostError:
            raise
        except Exception as error:
            raise Unreachable(f"No watch token could be had ({error!r}). It is asked for again.") from error
