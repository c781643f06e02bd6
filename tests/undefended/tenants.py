"""Each place of a statement that holds rows against the caller's tenant."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.undefended.defence import SQL, Defence

# Some are written so that no index by tenants is chosen for them.
_TENANT: Final = re.compile(r"\b(?:\w+\.)?tenant(?: \|\| '')? = \$\d+\b")

_SECOND_WALLS: Final = {
    "deliveries_in_state: t.tenant || '' = $1 (1)": "joins tasks to deliveries that were held against the tenant",
    "deliveries_of: t.tenant || '' = $1 (1)": "the same",
    "deliveries_replay: d.tenant || '' = $1 (1)": "what a page finds is held against the tenant when it is locked",
    "delivery_get: w.tenant = $1 (1)": "the delivery is held against the tenant too, and is its webhook's",
    "delivery_get: d.tenant || '' = $1 (1)": "the webhook is held against the tenant too",
    "delivery_get: t.tenant || '' = $1 (1)": "joins a task to a delivery that was held against the tenant",
    "descendants_among: t.tenant = $1 (1)": "goes on from a task held against the tenant, and a parent is of it",
    "descendants_among: t.tenant = $1 (2)": "goes up from a task that was held against the tenant",
    "explain: t.tenant = $1 (1)": "finds what stands before a task that is held against the tenant where it is shown",
    "failed_groups: t.tenant = $1 (1)": "finds fingerprints: nothing of one shows unless the tenant has such tasks",
    "failed_groups: t.tenant = $1 (2)": "the same",
    "webhook_change: w.tenant = $1 (1)": "what it finds is held against the tenant once more when it is changed",
    "webhook_change: w.tenant = $1 (2)": "changes what was held against the tenant when it was found",
}
"""Places without which nothing of others shows, because of another one, and why. They are taken away all at once."""
_NO_WALLS: Final = {
    "measure": "for the operator: it counts the own tenant and all others apart",
    "replay_begin": "keeps one replay out of a deletion of old ones, whosesoever",
}
"""Statements that are not about one tenant's rows, and why."""

_OF_DEAD_LETTERS: Final = (
    "tests/integration/store/test_dead_letters.py",
    *(f"tests/integration/api/test_{of}.py" for of in ("dead_letters", "dead_records")),
)
_OF_WEBHOOKS: Final = ("tests/integration/store/test_webhooks.py", "tests/integration/api/test_webhooks.py")
_OF_KEYS: Final = ("tests/integration/store/test_key_ring.py", "tests/integration/api/test_keys.py")
_OF_TREES: Final = ("tests/integration/store/test_trees.py", "tests/integration/api/test_cancel_tree.py")
_ISOLATION: Final = (
    "tests/integration/api/test_isolation.py",
    "tests/integration/notifier/test_isolation.py",
    *(f"tests/integration/api/test_{of}.py" for of in ("queues", "quotas", "tasks")),
)
_NEAR: Final = {
    **dict.fromkeys(("attempts", "failed", "payload", "record", "replay", "was"), _OF_DEAD_LETTERS),
    **dict.fromkeys(("deliveries", "delivery", "webhook", "webhooks"), _OF_WEBHOOKS),
    "key": _OF_KEYS,
    "cancel": _OF_TREES,
}
"""What is asked first, by the first word of a statement's name."""


def of_tenants(root: Path) -> Iterator[Defence]:
    """Yield a defence for each place, and one for all places of a statement that has second walls."""
    for file in sorted((root / SQL).glob("*.sql")):
        if file.stem in _NO_WALLS:
            continue
        text = file.read_text(encoding="utf-8")
        near = _NEAR.get(file.stem.partition("_")[0], ())
        tests = tuple(dict.fromkeys((*near, *_ISOLATION, *_OF_DEAD_LETTERS, *_OF_WEBHOOKS, *_OF_KEYS, *_OF_TREES)))
        seen: Counter[str] = Counter()
        second = False
        for found in _TENANT.finditer(text):
            code = found[0]
            nth = seen[code]
            seen[code] += 1
            name = f"{file.stem}: {code} ({nth + 1})"
            if name in _SECOND_WALLS:
                second = True
            else:
                yield Defence(name, f"{SQL}/{file.name}", code, _without(found), tests, nth)
        if second:
            every = f"{file.stem}: every tenant = $1"
            yield Defence(every, f"{SQL}/{file.name}", text, _TENANT.sub(_without, text), tests)


def _without(found: re.Match[str]) -> str:
    # Still a use of the parameter, or its type would be unknown.
    return f"({found[0]} or true)"


OTHER_WAYS: Final = (
    Defence(
        "children are their parent's tenant's",
        f"{SQL}/children.sql",
        " and t.tenant || '' = p.tenant",
        "",
        _OF_TREES,
    ),
    Defence(
        "tasks that are watched are their watcher's tenant's",
        f"{SQL}/get_many.sql",
        "on w.tenant = t.tenant and w.id = t.id",
        "on w.id = t.id",
        _OF_TREES,
    ),
    Defence(
        "a record is of a tenant if its task is",
        f"{SQL}/record_add.sql",
        " and t.tenant = n.tenant)",
        ")",
        _OF_DEAD_LETTERS,
    ),
    Defence(
        "limits are shown to whose they are",
        f"{SQL}/limits_of.sql",
        "where owner = $1\n",
        "where (owner = $1 or true)\n",
        ("tests/integration/api/test_isolation.py", "tests/integration/api/test_queues.py"),
    ),
    Defence(
        "limits on a tenant are shown to it",
        f"{SQL}/limits_of.sql",
        " and name in ($1, '')",
        "",
        ("tests/integration/api/test_isolation.py", "tests/integration/api/test_queues.py"),
    ),
)
"""Places that compare tenants without a parameter of their own."""
