"""What holds tasks back: pauses, limits on how many run at once, and rates of starts. Pure.

A limit is about the tasks of one tenant, or of all together (EVERYBODY). Nothing is counted here that Postgres does not
know: how many run is asked when tasks are claimed, so that no crash can leave a place taken.
"""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Final, NamedTuple

from milepost.domain.turns import Group, Share

EVERYBODY: Final = "*"
"""Owner of a limit that all tenants share."""
EACH: Final = ""
"""Name of a limit for each key or tenant that has none of its own."""


class Scope(StrEnum):
    """Which tasks share a limit: those of a queue, a type, a key, or a tenant."""

    QUEUE = "queue"
    TYPE = "type"
    KEY = "key"
    TENANT = "tenant"


class Rate(NamedTuple):
    """So many starts in so many seconds; the first so many may come at once."""

    starts: int
    period_s: float

    @property
    def interval_s(self) -> float:
        """Between two starts, if they came evenly."""
        return self.period_s / self.starts


class Name(NamedTuple):
    """What a limit is about. Of a limit on a tenant everybody is the owner: a tenant cannot set its own."""

    owner: str
    scope: Scope
    name: str


class Limit(NamedTuple):
    """What somebody set. `concurrency` and `rate` are None where there is no bound."""

    name: Name
    paused: bool = False
    concurrency: int | None = None
    rate: Rate | None = None


class Running(NamedTuple):
    """What a running task counts for."""

    tenant: str
    queue: str
    type: str
    key: str


class Limits:
    """All limits there are, as one process knows them."""

    def __init__(self, limits: Iterable[Limit] = ()) -> None:
        self._limits = {each.name: each for each in limits}
        self._keyed = {name.owner for name in self._limits if name.scope is Scope.KEY}
        self._of: dict[Group, tuple[Limit, ...]] = {}

    def __bool__(self) -> bool:
        return bool(self._limits)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Limits) and self._limits == other._limits

    __hash__ = None  # type: ignore[assignment]

    def pause(self, queue: str, tenant: str) -> Limit | None:
        """Return the pause a tenant's tasks in a queue stand under; None without one."""
        for owner in (tenant, EVERYBODY):
            limit = self._limits.get(Name(owner, Scope.QUEUE, queue))
            if limit is not None and limit.paused:
                return limit
        return None

    def on_keys(self, tenant: str) -> bool:
        """Whether a tenant has limits on keys."""
        return tenant in self._keyed

    def of(self, group: Group) -> tuple[Limit, ...]:
        """Return the limits the tasks of a group share with others, each named by what it counts; empty without any."""
        if not self._limits:
            return ()
        found = self._of.get(group)
        if found is None:
            found = tuple(each for each in self._candidates(group) if each.concurrency is not None or each.rate)
            if len(self._of) > 10_000:
                self._of.clear()
            self._of[group] = found
        return found

    def _candidates(self, group: Group) -> Iterable[Limit]:
        names = [
            Name(owner, scope, name)
            for owner in (group.tenant, EVERYBODY)
            for scope, name in ((Scope.QUEUE, group.queue), (Scope.TYPE, group.type))
        ]
        if group.key:
            names.append(Name(group.tenant, Scope.KEY, group.key))
        names.append(Name(EVERYBODY, Scope.TENANT, group.tenant))
        for name in names:
            limit = self._limits.get(name)
            if limit is None and name.scope in {Scope.KEY, Scope.TENANT}:
                limit = self._limits.get(name._replace(name=EACH))
            if limit is not None:
                yield limit._replace(name=name)


def counts_for(name: Name, task: Running) -> bool:
    """Whether a running task takes a place under the limit of that name."""
    if name.scope is Scope.TENANT:
        return task.tenant == name.name
    if name.owner not in {EVERYBODY, task.tenant}:
        return False
    return {Scope.QUEUE: task.queue, Scope.TYPE: task.type, Scope.KEY: task.key}[name.scope] == name.name


def crosses_tenants(name: Name) -> bool:
    """Whether tasks of more than one tenant count for it."""
    return name.owner == EVERYBODY and name.scope is not Scope.TENANT


class Grant(NamedTuple):
    """What may be claimed, and which limit held back each group that got less than its share."""

    shares: list[Share]
    held: dict[Group, Limit]


def grant(
    shares: Sequence[Share], limits: Limits, running: Mapping[Running, int], ahead_s: Mapping[Name, float]
) -> Grant:
    """Return as much of the shares as the limits have room for, one place to each in turn.

    `running` says how many tasks of each kind run; `ahead_s` by how many seconds the next start under a rate would come
    before its time (missing or negative: it would not).
    """
    room: dict[Name, int] = {}
    for share in shares:
        for limit in limits.of(share.group):
            if limit.name not in room:
                room[limit.name] = _room(limit, running, ahead_s.get(limit.name, 0.0))
    given = {share.group: 0 for share in shares}
    held: dict[Group, Limit] = {}
    left = dict(shares)
    while left:
        for group in list(left):
            if given[group] >= left[group]:
                del left[group]
                continue
            bounds = limits.of(group)
            full = next((limit for limit in bounds if room[limit.name] <= 0), None)
            if full is not None:
                held[group] = full
                del left[group]
                continue
            given[group] += 1
            for limit in bounds:
                room[limit.name] -= 1
    return Grant([Share(group, count) for group, count in given.items() if count], held)


def _room(limit: Limit, running: Mapping[Running, int], ahead_s: float) -> int:
    free = []
    if limit.concurrency is not None:
        taken = sum(count for task, count in running.items() if counts_for(limit.name, task))
        free.append(limit.concurrency - taken)
    if limit.rate is not None:
        # A start is an interval of the period; what lies ahead of now is used up (GCRA, as in ATM's traffic contracts).
        left_s = limit.rate.period_s - max(0.0, ahead_s)
        free.append(int(left_s / limit.rate.interval_s + 1e-6))
    return max(0, min(free))


def rates_used(taken: Mapping[Group, int], limits: Limits) -> dict[Name, float]:
    """Return by how many seconds the starts of these tasks use up each rate."""
    used: dict[Name, float] = {}
    for group, count in taken.items():
        for limit in limits.of(group):
            if limit.rate is not None:
                used[limit.name] = used.get(limit.name, 0.0) + count * limit.rate.interval_s
    return used
