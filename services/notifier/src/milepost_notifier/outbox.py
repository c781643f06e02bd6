"""What waits to be sent to one client: in order, coalesced, counted in bytes."""

from collections import deque
from collections.abc import Iterable
from typing import Final
from uuid import UUID

from milepost.live import LiveEvent, View
from milepost.live.wire import merged_text
from milepost_notifier.tally import TALLY
from milepost_schemas.position import Position

KNOWN_MAX: Final = 4096
"""So many bytes are kept of a task, to end its subscription without another look-up."""
PATCHES_MAX: Final = 16


class Subscription:
    """One client's interest in one task. `position` is what the client has once everything queued is sent.

    A descendant that is told of has one of its own, with the `id` of the one the client asked for.
    """

    __slots__ = (
        "_alone",
        "again",
        "behind",
        "buffer",
        "buffered",
        "force",
        "fresh",
        "gone",
        "id",
        "in_vain",
        "join",
        "known",
        "lines",
        "member",
        "mended",
        "patches",
        "position",
        "proven",
        "stale",
        "tail",
        "task",
        "unasked",
    )

    def __init__(
        self, number: int, task: UUID, since: Position | None, lines: int = 0, *, member: bool = False
    ) -> None:
        self.id = number
        self.lines = lines
        """So many of the last streamed events go with each snapshot."""
        self.task = task
        self.position = since
        self.member = member
        """It is of a descendant of the task that the client named."""
        self.unasked = False
        """Its task may have children, and nobody was asked for them yet."""
        self.gone = False
        """It is over."""
        self.fresh = True
        """Nothing was sent yet: the client has to be told where it stands."""
        self.proven = False
        """The client's token covers the task, as far as is known."""
        self.join = 0
        """Number of the look-up that is under way, 0 for none."""
        self.force = False
        """The next answer has to be a snapshot."""
        self.in_vain = False
        """The last look-up did not take the client any further."""
        self.behind = False
        """Events were left out because the client is slow."""
        self.mended = False
        """What had been missed of the task was put in while a look-up is under way."""
        self.again = False
        """One look-up is not enough: events were left out while it took."""
        self.stale = False
        """One look-up is not enough, and the next has to give a snapshot: the task was mended while it took."""
        self.buffer: list[LiveEvent] = []
        self.buffered = 0
        self.tail: Entry | None = None
        """The entry last queued, while it is unsent and may be replaced."""
        self.known: bytes | None = None
        """The task as the client was told it at first; with `patches` it is what the client has at `position`.

        None when that is not known in full, too long to keep, or of a member, whose end needs no frame of its own. The
        bytes are those all watchers share.
        """
        self.patches: list[bytes] = []
        self._alone = False
        """The last of them is nothing but progress."""

    def told_all(self, view: View) -> None:
        """Remember a snapshot that is on its way to the client."""
        keep = not self.member and view.complete and len(view.task) <= KNOWN_MAX
        self.known = view.task if keep else None
        self.patches = []

    def told(self, event: LiveEvent) -> None:
        """Remember an event that is on its way to the client, right behind everything before it."""
        if self.known is None or not event.patches:
            return
        if event.whole:
            self.known, self.patches = event.data, []
        elif event.alone and self._alone and self.patches:
            self.patches[-1] = event.data  # which says all that the one before did
        else:
            self.patches.append(event.data)
        self._alone = event.alone
        if len(self.patches) > PATCHES_MAX:
            self.known, self.patches = merged_text(self.known, self.patches), []
        if len(self.known) > KNOWN_MAX:
            self.forget()

    def forget(self) -> None:
        """Remember nothing, because something was left out, until the next snapshot."""
        self.known = None
        self.patches = []

    @property
    def task_told(self) -> bytes | None:
        """What the client has at `position`, if that is known."""
        return None if self.known is None else merged_text(self.known, self.patches)


class Entry:
    """A frame, or an event that becomes one when its turn comes."""

    __slots__ = ("at", "event", "frame", "merged", "prev", "sub")

    def __init__(
        self, sub: Subscription | None, frame: bytes, event: LiveEvent | None = None, prev: Position | None = None
    ) -> None:
        self.sub = sub
        self.frame = frame
        self.event = event
        self.prev = prev
        self.at: Position | None = None
        """Of a snapshot."""
        self.merged = 0

    @property
    def size(self) -> int:
        """Bytes it will take, about."""
        return len(self.frame) if self.event is None else self.event.size

    def encoded(self) -> bytes:
        """Return the frame; of an event it is the same bytes for all who stand alike."""
        if self.event is None or self.sub is None:
            return self.frame
        return self.event.frame(self.sub.id, self.prev, self.merged + self.event.merged)


class Outbox:
    """The queue of one client."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque()
        self.size = 0

    def put(self, frame: bytes, sub: Subscription | None = None) -> None:
        """Queue a frame."""
        self._append(Entry(sub, frame))
        if sub is not None:
            sub.tail = None

    def put_snap(self, sub: Subscription, frame: bytes, at: Position) -> None:
        """Queue a snapshot, which takes the client to `at` wherever it was."""
        self.put(frame, sub)
        self._entries[-1].at = at
        sub.position = at

    def put_event(self, sub: Subscription, event: LiveEvent) -> None:
        """Queue an event, or let it take the place of the progress that is the last thing queued for `sub`."""
        tail = sub.tail
        if tail is not None and tail.event is not None and event.alone:
            TALLY.coalesced += 1
            self.size += event.size - tail.event.size
            tail.merged += 1 + tail.event.merged
            tail.event = event
        else:
            entry = Entry(sub, b"", event, sub.position)
            self._entries.append(entry)
            self.size += event.size
            sub.tail = entry if event.alone else None
        sub.position = event.at

    def take(self, size: int) -> list[bytes]:
        """Return the next frames, about `size` bytes of them; an empty list when nothing waits."""
        return [entry.encoded() for entry in self.take_entries(size)]

    def take_entries(self, size: int) -> list[Entry]:
        """Return the same for those that write them in another way."""
        entries = []
        while self._entries and size > 0:
            entry = self._entries.popleft()
            if entry.sub is not None and entry.sub.tail is entry:
                entry.sub.tail = None
            self.size -= entry.size
            size -= entry.size
            entries.append(entry)
            if entry.event is not None:
                TALLY.events += 1
            elif entry.at is not None:
                TALLY.snapshots += 1
            else:
                TALLY.others += 1
        return entries

    def drop_events(self) -> set[Subscription]:
        """Leave out queued events that a snapshot makes up for; return the subscriptions that are now behind.

        The chain of `prev` stays whole: what follows an event left out takes over its `prev`.
        """
        behind: set[Subscription] = set()
        carried: dict[Subscription, Position | None] = {}
        kept: list[Entry] = []
        for entry in self._entries:
            sub, event = entry.sub, entry.event
            if sub is None or event is None:
                if sub is not None and entry.at is not None:
                    carried.pop(sub, None)
                    behind.discard(sub)
                    sub.position = entry.at
                kept.append(entry)
            elif event.droppable:
                TALLY.dropped += 1
                carried.setdefault(sub, entry.prev)
                behind.add(sub)
                sub.position = carried[sub]
                sub.tail = None
            else:
                if sub in carried:
                    entry.prev = carried.pop(sub)
                sub.position = event.at
                kept.append(entry)
        self._reset(kept)
        return behind

    def forget(self, number: int) -> None:
        """Drop everything queued for the subscription of this number, members included."""
        self._reset(entry for entry in self._entries if entry.sub is None or entry.sub.id != number)

    def clear(self) -> None:
        """Drop everything."""
        self._reset(())

    def _append(self, entry: Entry) -> None:
        self._entries.append(entry)
        self.size += entry.size

    def _reset(self, entries: Iterable[Entry]) -> None:
        self._entries = deque(entries)
        self.size = sum(entry.size for entry in self._entries)
