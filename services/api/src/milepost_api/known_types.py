"""The task types workers have announced, kept in memory, with a compiled validator each."""

import asyncio
import difflib
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import jsonschema_rs

from milepost.errors import Unavailable
from milepost.runtime.logs import get_logger
from milepost_api.problems import ROWS_SHOWN, Refusal, finding
from milepost_schemas.problem import ProblemType
from milepost_schemas.worker import TypeInfo

REFRESH_S: Final = 2.0
_MISS_S: Final = 0.25

log = get_logger("milepost.api.types")


class KnownType:
    """A type and how to check its payloads."""

    __slots__ = ("_validator", "info")

    def __init__(self, info: TypeInfo) -> None:
        self.info = info
        self._validator = _compile(info)

    def check(self, payload: dict[str, Any]) -> None:
        """Raise Refusal if the payload does not fit; its rows name places and rules, never values."""
        if self._validator is None or self._validator.is_valid(payload):
            return
        rows = []
        for error in self._validator.iter_errors(payload):
            rows.append(finding(("payload", *error.instance_path), error.message))
            if len(rows) == ROWS_SHOWN:
                break
        detail = f"The payload does not fit the JSON Schema of {self.info.type!r} (GET /v1/types). Nothing was stored."
        raise Refusal(ProblemType.PAYLOAD, detail, rows)


def _compile(info: TypeInfo) -> Any | None:
    try:
        return jsonschema_rs.validator_for(
            info.payload_schema,
            mask="the value",
            # What a worker announced must not make us fetch a URL, nor match in more than linear time.
            offline=True,
            pattern_options=jsonschema_rs.RegexOptions(),
        )
    except (ValueError, jsonschema_rs.ReferencingError) as error:
        log.warning("payload schema cannot be used; payloads are left to the worker", type=info.type, error=str(error))
        return None


class KnownTypes:
    """Every type ever announced. `load` reads them from the store."""

    def __init__(self, load: Callable[[], Awaitable[list[TypeInfo]]]) -> None:
        self._load = load
        self._types: dict[str, KnownType] = {}
        self._loaded = False
        self._began_at = -1e9
        self._loading = asyncio.Lock()

    async def run(self) -> None:
        """Read them again and again, until cancelled."""
        while True:
            try:
                await self.refresh()
            except Unavailable as error:
                log.debug("types were not read", error=str(error))
            await asyncio.sleep(REFRESH_S)

    async def refresh(self) -> None:
        """Read them now. Raises Unavailable; what was known stays known."""
        async with self._loading:
            await self._read()

    async def _read(self) -> None:
        self._began_at = time.monotonic()
        self._types = {info.type: self._updated(info) for info in await self._load()}
        self._loaded = True

    def _updated(self, info: TypeInfo) -> KnownType:
        old = self._types.get(info.type)
        if old is None or old.info.payload_schema != info.payload_schema:
            return KnownType(info)
        old.info = info
        return old

    def known(self, name: str) -> KnownType | None:
        """Return a type as of the last look; None if `find` has to look."""
        return self._types.get(name)

    async def find(self, name: str) -> KnownType:
        """Return a type. Raises Refusal for one nobody announced, Unavailable while we cannot know."""
        known = self.known(name)
        if known is not None:
            return known
        asked_at = time.monotonic()
        async with self._loading:
            # A type may have been announced a moment ago, so a miss is believed only after a read that began later. One
            # read serves all who wait for it, and a stream of misspelt types makes no more than four a second.
            if name not in self._types and self._began_at < asked_at:
                await asyncio.sleep(max(0.0, self._began_at + _MISS_S - asked_at))
                await self._read()
        known = self._types.get(name)
        if known is not None:
            return known
        if not self._loaded:
            raise Unavailable("Task types have not been read from Postgres yet. Try again in a moment.")
        raise self._unknown(name)

    def _unknown(self, name: str) -> Refusal:
        close = difflib.get_close_matches(name, self._types, n=3)
        meant = f" Did you mean {' or '.join(close)}?" if close else ""
        detail = (
            f"No worker has ever announced the task type {name!r}.{meant} Start a worker whose modules define it "
            "(milepost worker --tasks MODULE) and send the request again; GET /v1/types shows what is known."
        )
        return Refusal(ProblemType.UNKNOWN_TYPE, detail, [finding(("type",), "unknown task type")])
