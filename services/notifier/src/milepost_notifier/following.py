"""The tasks one client follows: each by a chain of positions, alone or as a member of a tree."""

from collections.abc import Iterable, Sequence
from typing import Final
from uuid import UUID

import orjson

from milepost.domain.grant import EVERYTHING, Grant
from milepost.live import LiveEvent, View
from milepost.live.wire import MENDED, SEED
from milepost.runtime.metrics.catalogue import RESETS
from milepost_notifier.intents import Descend, Forget, Intent, Lookup
from milepost_notifier.limits import Limits
from milepost_notifier.outbox import Outbox, Subscription
from milepost_notifier.tally import TALLY
from milepost_notifier.tree import Tree
from milepost_schemas.frames import Sub
from milepost_schemas.position import POSTGRES_INT_MAX, Position

FORBIDDEN: Final = ("forbidden", "Your token does not cover this. Subscribe with one that does.")
TOO_MANY_CHILDREN: Final = (
    "too_many_children",
    "The task has more descendants than one subscription tells of. Those told so far go on; list the others over HTTP.",
)


NEVER: Final = Position(POSTGRES_INT_MAX, 0)
"""Where a member is said to have ended that is not to be told of: it never begins anew."""
OVER_ASKED: Final = 50
"""Of the members of a tree that are over, so many are asked about at once: a tree may have a thousand."""


class Following:
    """The subscriptions of a session to tasks; what they say goes into its outbox, what they need into its intents.

    `allow` says first what its client may watch.
    """

    def __init__(self, outbox: Outbox, intents: list[Intent], limits: Limits) -> None:
        self.lagging = False
        """The client is slow: what a snapshot makes up for is left out."""
        self._outbox = outbox
        self._intents = intents
        self._limits = limits
        self._grant = EVERYTHING
        self._joins = 0
        self._questions = 0
        self._members = 0
        self._subs: dict[int, Subscription] = {}
        self._trees: dict[int, Tree] = {}
        """Of those subscriptions that tell of descendants too."""
        self._by_task: dict[UUID, list[Subscription]] = {}
        """Subscriptions and members of trees, by what they follow."""
        self._joining: dict[int, Subscription] = {}
        self._asked: dict[int, tuple[Tree, UUID]] = {}
        """Whose children were asked for, and for which tree."""
        self._behind: dict[Subscription, None] = {}

    def __contains__(self, number: int) -> bool:
        return number in self._subs

    def __len__(self) -> int:
        return len(self._subs)

    # -- from the client

    def add(self, frame: Sub) -> None:
        """Take a subscription to a task, unless the client's token does not cover it."""
        assert frame.task is not None  # noqa: S101 - the session tells feeds apart
        covered = self._grant.covers(frame.task)
        if covered is False:
            self._err(frame.id, *FORBIDDEN)
            return
        sub = Subscription(frame.id, frame.task, frame.from_, frame.tail or 0)
        sub.proven = covered is True
        self._subs[sub.id] = sub
        if frame.tree:
            self._trees[sub.id] = Tree(sub)
        self._begin(sub)

    def remove(self, number: int) -> bool:
        """Drop one, and what is queued for it; return whether it was there."""
        sub = self._subs.get(number)
        if sub is None:
            return False
        self._outbox.forget(number)
        self._remove(sub)
        return True

    def clear(self) -> None:
        """Drop all."""
        for sub in tuple(self._subs.values()):
            self._remove(sub)
        self._asked.clear()

    def allow(self, grant: Grant) -> None:
        """Go on with another token; what it does not cover ends."""
        before, self._grant = self._grant, grant
        if grant == before:
            return
        for sub in [sub for subs in self._by_task.values() for sub in subs]:
            covered = grant.covers(sub.task)
            sub.proven = covered is True
            if covered is False and not sub.gone:
                self._refuse(sub, *FORBIDDEN)
            elif (covered is None or sub.join) and not sub.gone:  # what is under way is judged by the token of before
                self._look(sub)
        for tree in self._trees.values():
            for task in tree.hidden(NEVER):
                tree.forget(task)
                self._members -= 1
                self._begin(self._adopt(tree, task))

    # -- from Redis and Postgres

    def event(self, task: UUID, event: LiveEvent) -> None:
        """Take an event of a task."""
        for sub in tuple(self._by_task.get(task, ())):
            if self._answers(sub, event):
                self._meet(sub, event)
            else:
                self._follow(sub, event)

    def child(self, parent: UUID, child: UUID, event: LiveEvent) -> None:
        """Take that a task has a new child, or one that begins anew: its first event."""
        for sub in tuple(self._by_task.get(parent, ())):
            # Whoever was told nothing of the parent yet is told of its children after that, see `Descend`.
            if not sub.fresh and (tree := self._trees.get(sub.id)) is not None:
                self._meet_child(tree, child, event)

    def waits(self, number: int) -> bool:
        """Return whether a subscription was not yet told where it stands."""
        sub = self._subs.get(number)
        return sub is not None and sub.fresh

    def wants(self, join: int) -> bool:
        """Return whether a Lookup still has to be answered."""
        return join in self._joining

    def joined(self, join: int, view: View) -> None:
        """Take the answer to a Lookup."""
        sub = self._joining.pop(join, None)
        if sub is None:
            return  # unsubscribed meanwhile
        sub.join = 0
        sub.proven = True  # else it would have been refused
        buffer, sub.buffer, sub.buffered = sub.buffer, [], 0
        before = None if sub.fresh else sub.position
        mended, sub.mended = sub.mended, False
        if mended and view.complete:  # events do not bring what was missed
            sub.force = sub.force or sub.position is not None
        elif mended:  # it was read before
            sub.stale = True
        self._catch_up(sub, view)
        in_vain, sub.in_vain = sub.in_vain, before is not None and sub.position == before
        # A view that lags behind the client is not the last word, unless it says that this very run is over. Nor is one
        # of before a retry that was heard of meanwhile: a member goes on.
        anew = sub.member and any(event.at.epoch > view.at.epoch for event in buffer)
        if view.finished and not anew and (sub.position is None or view.at.epoch >= sub.position.epoch):
            self._over(sub, view)
        else:
            for event in buffer:
                # The one before may have ended it. What two look-ups do not lead to was forgotten by Redis: the audit
                # or a later event does.
                lost = in_vain and before is not None and sub.position == before and not event.continues(before)
                if not sub.gone and not lost:
                    self._follow(sub, event)
            if (sub.again or sub.stale) and sub.join == 0 and not sub.gone:
                sub.force, sub.again, sub.stale = sub.stale, False, False
                self._look(sub)
        if sub.unasked and (tree := self._trees.get(sub.id)) is not None:
            sub.unasked = False
            self._descend(tree, sub.task)

    def refused(self, join: int, code: str, message: str) -> None:
        """Take the answer to a Lookup that found nothing to show."""
        sub = self._joining.get(join)
        if sub is not None:
            self._refuse(sub, code, message)

    def children(self, question: int, found: Iterable[tuple[UUID, Position]]) -> None:
        """Take the answer to a Descend: children, in the order they are to be told in, with where they are."""
        tree, _ = self._asked.pop(question, (None, None))
        if tree is None or tree.root.gone:
            return
        for child, at in found:
            if tree.lacks(child, at.epoch) and self._room(tree, child):
                self._begin(self._adopt(tree, child))

    def descend(self) -> None:
        """Ask again for the children of every task of a tree, of those that are over in turn; each once."""
        asked, self._asked = self._asked, {}
        wanted = dict.fromkeys(each for each in asked.values() if not each[0].root.gone)
        for tree in self._trees.values():
            wanted |= dict.fromkeys((tree, sub.task) for sub in tree if not sub.fresh)
            over = tree.some_ended(OVER_ASKED)
            wanted |= dict.fromkeys((tree, task) for task in over if tree.ended(task) != NEVER)
        for tree, task in wanted:
            self._descend(tree, task)

    def resync(self, task: UUID, at: Position, *, finished: bool, force: bool) -> None:
        """Look again if what is known of the task is ahead of a subscription; `force`: send a snapshot anyway."""
        for sub in self._by_task.get(task, ()):
            if sub.join:
                sub.stale = sub.stale or force  # what is under way may have been read before
            elif force or finished or sub.position is None or sub.position < at:
                sub.force = force
                self._look(sub)

    # -- when the client is slow

    def leave_behind(self, subs: Iterable[Subscription]) -> None:
        """Note that something was left out of these, and that snapshots have to make up for it."""
        for sub in subs:
            if not sub.gone:
                sub.behind = True
                sub.forget()
                self._behind[sub] = None

    @property
    def behind(self) -> bool:
        """Whether a snapshot has to make up for something."""
        return bool(self._behind)

    def make_up(self) -> bool:
        """Look up what is behind; return whether there is anything."""
        behind = [sub for sub in self._behind if sub.join == 0]
        for sub in behind:
            self._look(sub)
        return bool(behind)

    # -- inside

    def _answers(self, sub: Subscription, event: LiveEvent) -> bool:
        """Whether an event is as good as the first look-up's answer: it holds the whole task, and may be shown."""
        if not event.whole or not sub.join or not sub.fresh or sub.position is not None or sub.lines:
            return False
        return sub.proven or self._grant.covers_members(orjson.loads(event.data)) is True

    def _meet(self, sub: Subscription, event: LiveEvent) -> None:
        """Answer a first look-up by an event that holds the whole task; the answer on its way comes too late.

        It is as good a view as any: the event left Redis when the snapshot there was the same, and whatever comes
        later on the channel comes later here. What was kept before it is in it.
        """
        self.joined(sub.join, View(event.at, event.data, event.terminal, event.traceparent, age=0.0))

    def _pass(self, sub: Subscription, event: LiveEvent) -> None:
        self._outbox.put_event(sub, event)
        sub.told(event)

    def _follow(self, sub: Subscription, event: LiveEvent) -> None:
        if sub.join:
            self._keep(sub, event)
            return
        if event.kind == MENDED:
            sub.force = True
            self._look(sub)
            return
        position = sub.position
        if position is not None and event.at <= position:
            return
        if event.kind == SEED:
            self._look(sub)
            return
        if not sub.behind and (position is None or not event.continues(position)):
            self._look(sub)
            self._keep(sub, event)
            return
        if event.droppable and (sub.behind or self.lagging):
            TALLY.dropped += 1
            self.leave_behind([sub])
            return
        self._pass(sub, event)
        if event.terminal:
            self._finish(sub)

    def _keep(self, sub: Subscription, event: LiveEvent) -> None:
        if event.kind == MENDED:
            sub.mended = True
        elif sub.buffered + event.size > self._limits.buffer:
            sub.buffer, sub.buffered, sub.again = [], 0, True
        elif not sub.again:  # the second look-up finds what comes after a hole in the buffer
            sub.buffer.append(event)
            sub.buffered += event.size

    def _catch_up(self, sub: Subscription, view: View) -> None:
        """Bring the client from where it is to where the view is: by events if there is a chain, else by a snapshot."""
        position = sub.position
        forced, sub.force = sub.force, False
        chain = None if position is None or forced else view.after(position)
        if chain is not None and sum(event.size for event in chain) <= self._limits.soft:
            for event in chain:
                self._pass(sub, event)
        elif forced or sub.fresh or position is None or view.at > position:
            if forced and not sub.fresh and position is not None and view.at < position:
                return  # an older view is no snapshot; the audit asks again
            self._show(sub, view, view.at)
        sub.fresh = False

    def _show(self, sub: Subscription, view: View, at: Position) -> None:
        """Send a snapshot."""
        sub.behind = False
        self._behind.pop(sub, None)
        tail = _last(view.tail, sub.lines, self._limits.tail) if sub.lines else None
        reset = sub.position is not None
        RESETS.add(reset)
        self._outbox.put_snap(sub, _snap(sub.id, view, at, reset=reset, tail=tail), at)
        sub.told_all(view)

    def _finish(self, sub: Subscription) -> None:
        """Say the end after a terminal event: the snapshot and every event since are the task, see docs/protocol.md.

        Only where they are known without a hole; else the task is read once more. The event itself is the end of a
        member.
        """
        task, at = sub.task_told, sub.position
        if sub.behind or at is None or (task is None and not sub.member):
            self._look(sub)
            return
        if task is not None:
            self._outbox.put(_task_frame(b"end", sub.id, at, task), sub)
        self._remove(sub, ended=at)

    def _over(self, sub: Subscription, view: View) -> None:
        """Say the end that a view shows. A member has none: that it is over is in its last event or snapshot."""
        at = max(view.at, sub.position or view.at)
        if not sub.member:
            self._outbox.put(_task_frame(b"end", sub.id, at, view.task), sub)
        elif sub.stale or sub.again:  # that it began anew may be among what was left out
            sub.force, sub.again, sub.stale = sub.stale, False, False
            self._look(sub)
            return
        elif view.at < at:
            self._show(sub, view, at)
        self._remove(sub, ended=at)

    def _look(self, sub: Subscription) -> None:
        self._joining.pop(sub.join, None)
        self._joins += 1
        sub.join = self._joins
        self._joining[sub.join] = sub
        sub.force = sub.force or sub.behind
        since = None if sub.force else sub.position
        grant = None if sub.proven else self._grant
        self._intents.append(Lookup(sub.join, sub.task, since, sub.fresh, sub.lines, grant))

    def _begin(self, sub: Subscription) -> None:
        """Follow a task."""
        sub.unasked = sub.id in self._trees
        self._by_task.setdefault(sub.task, []).append(sub)
        self._look(sub)

    def _refuse(self, sub: Subscription, code: str, message: str) -> None:
        """Follow a task no longer, for it cannot be shown. Of a member nothing is said; nor is it asked for again."""
        if sub.member:
            self._remove(sub, ended=NEVER if code == FORBIDDEN[0] else None)
            return
        self._outbox.forget(sub.id)
        self._err(sub.id, code, message)
        self._remove(sub)

    def _remove(self, sub: Subscription, ended: Position | None = None) -> None:
        """Follow a task no longer, nor its descendants if the client named it; `ended`: its last position."""
        if sub.member:
            mine = self._trees[sub.id]
            mine.remove(sub, ended)
            self._members -= ended is None
            self._leave(sub)
            if ended is not None and ended != NEVER and not sub.unasked:
                # A child made just before may be announced only now, when nobody listens any more.
                self._descend(mine, sub.task)
            return
        del self._subs[sub.id]
        tree = self._trees.pop(sub.id, None)
        if tree is None:
            self._leave(sub)
            return
        self._members -= len(tree)
        for each in tree:
            self._leave(each)

    def _leave(self, sub: Subscription) -> None:
        sub.gone = True
        self._joining.pop(sub.join, None)
        self._behind.pop(sub, None)
        left = self._by_task[sub.task]
        left.remove(sub)
        if not left:
            del self._by_task[sub.task]
            self._intents.append(Forget(sub.task))

    # -- trees

    def _descend(self, tree: Tree, task: UUID) -> None:
        """Ask for the children of a task."""
        self._questions += 1
        self._asked[self._questions] = tree, task
        self._intents.append(Descend(self._questions, task))

    def _meet_child(self, tree: Tree, child: UUID, event: LiveEvent) -> None:
        """Take a child that is told on its parent's channel. What comes after that is looked up."""
        if not tree.lacks(child, event.at.epoch) or not self._room(tree, child):
            return
        member = self._adopt(tree, child)
        shown = member.proven and event.whole
        if shown and (member.position is None or event.continues(member.position)):
            member.fresh = False
            self._outbox.put_event(member, event)
            if event.terminal:
                tree.remove(member, event.at)
                self._descend(tree, child)
                return
        self._begin(member)

    def _room(self, tree: Tree, task: UUID) -> bool:
        """Return whether one more may be told of; say so once if not."""
        if tree.ended(task) is not None:
            return True
        if len(tree) < self._limits.members and self._members < self._limits.all_members:
            return True
        if not tree.full:
            tree.full = True
            self._err(tree.root.id, *TOO_MANY_CHILDREN)
        return False

    def _adopt(self, tree: Tree, task: UUID) -> Subscription:
        """Make a member of a descendant, from where it ended if it did."""
        before = tree.ended(task)
        self._members += before is None
        member = Subscription(tree.root.id, task, before, member=True)
        member.proven = self._grant.descendants
        tree.add(member)
        return member

    def _err(self, number: int, code: str, message: str) -> None:
        self._outbox.put(err(number, code, message))


def err(number: int, code: str, message: str) -> bytes:
    """Return the frame that says what cannot be done."""
    return orjson.dumps({"t": "err", "id": number, "code": code, "message": message})


def _task_frame(kind: bytes, number: int, at: Position, task: bytes) -> bytes:
    return b'{"t":"%b","id":%d,"at":[%d,%d],"task":%b}' % (kind, number, *at, task)


def _snap(number: int, view: View, at: Position, *, reset: bool, tail: Sequence[bytes] | None) -> bytes:
    frame = _task_frame(b"snap", number, at, view.task)[:-1]
    if reset:
        frame += b',"reset":true'
    if view.traceparent is not None:
        frame += b',"traceparent":"%b"' % view.traceparent.encode()
    if view.age is not None:
        frame += b',"age":%.1f' % view.age
    if tail is not None:
        frame += b',"tail":[%b]' % b",".join(tail)
    return frame + b"}"


def _last(tail: Sequence[bytes], number: int, size: int) -> Sequence[bytes]:
    """Return the last so many of a tail, and no more than fit into `size` bytes."""
    start = len(tail)
    while start and len(tail) - start < number and (size := size - len(tail[start - 1])) >= 0:
        start -= 1
    return tail[start:]
