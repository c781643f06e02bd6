"""Notes the frames of one connection for the record."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from milepost.audit.facts import Frame, Record, Watch, frame_of
from milepost_schemas.position import Position


class Frames:
    """Puts the frames of one client's connections into its watches."""

    def __init__(self, record: Record, client: str) -> None:
        self._record = record
        self._client = client
        self._watches: dict[int, Watch] = {}

    def subscribed(self, number: int, task: str, since: Position | None = None, watch: Watch | None = None) -> Watch:
        """The client sent `sub`; `watch` is the one this resumes, if any."""
        if watch is None:
            watch = self._record.watch(UUID(task), self._client)
        watch.frames.append(Frame("sub", since))
        self._watches[number] = watch
        return watch

    def got(self, frame: Mapping[str, Any]) -> None:
        """A frame came."""
        seen = frame_of(frame)
        if seen is not None and (watch := self._watches.get(frame["id"])) is not None:
            watch.frames.append(seen)
