"""Refusals: raised anywhere, answered in one place, as RFC 9457 says."""

from collections.abc import Iterable
from typing import Any, Final

import orjson

from milepost.errors import MilepostError
from milepost_api.reply import Reply
from milepost_schemas.problem import MEDIA_TYPE, ProblemType

ROWS_SHOWN: Final = 20
_TEXT_SHOWN: Final = 300
_PART_SHOWN: Final = 80
_MEDIA: Final = (b"content-type", MEDIA_TYPE.encode())
RETRY_SOON: Final = (b"retry-after", b"2")


class Refusal(MilepostError):
    """The request cannot be done. `rows` are findings of invalid input, `headers` go with the answer."""

    def __init__(
        self,
        kind: ProblemType,
        detail: str,
        rows: list[dict[str, str]] | None = None,
        headers: Iterable[tuple[bytes, bytes]] = (),
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.rows = rows
        self.headers = tuple(headers)

    def members(self, trace_id: str | None) -> dict[str, Any]:
        """Return the members of the problem document."""
        members = self.kind.members(self.detail, trace_id)
        if self.rows is not None:
            members["errors"] = self.rows
        return members

    def reply(self, trace_id: str | None) -> Reply:
        """Return the answer."""
        body = orjson.dumps(self.members(trace_id))
        return Reply(self.kind.value.status, body, (_MEDIA, *self.headers))


def unavailable(detail: str) -> Refusal:
    """Return the refusal for a server of ours that is away."""
    return Refusal(ProblemType.UNAVAILABLE, detail, headers=(RETRY_SOON,))


def finding(path: Iterable[object], message: str) -> dict[str, str]:
    """Return one row: `path` as a JSON Pointer (RFC 6901), both parts short whatever the input was."""
    pointer = "".join("/" + _short(str(part).replace("~", "~0").replace("/", "~1"), _PART_SHOWN) for part in path)
    return {"path": _short(pointer, _TEXT_SHOWN), "message": _short(message, _TEXT_SHOWN)}


def _short(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
