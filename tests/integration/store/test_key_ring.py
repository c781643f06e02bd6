"""What a process remembers of keys, over the real table."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from uuid import UUID

import pytest
import uuid_utils.compat as uuids

from milepost.domain.quotas import Quotas
from milepost.runtime.keys import Changes, KeyEnded, KeyRing, KeyRow, digest_of, new_secret
from milepost.store.connection import Pool
from milepost.store.keys import KEYS_MOST, Keys, NewKey


class Counted(Keys):
    """The store, counting what it is asked."""

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool)
        self.looked_up: list[int] = []
        self.written: list[set[UUID]] = []

    async def find_keys(self, digests: Sequence[bytes]) -> list[KeyRow | None]:
        self.looked_up.append(len(digests))
        return await super().find_keys(digests)

    async def keys_used(self, keys: Iterable[UUID]) -> None:
        self.written.append(set(keys))
        await super().keys_used(keys)


@pytest.fixture
async def keys(pool: Pool) -> Counted:
    await pool.execute("truncate milepost.tenants, milepost.api_keys")
    return Counted(pool)


@pytest.fixture
def ring(keys: Counted) -> KeyRing:
    return KeyRing(keys)


async def stored(keys: Keys, tenant: str = "acme", **options: object) -> tuple[str, UUID]:
    """Store a key; return it and its id."""
    secret, id_ = new_secret(), uuids.uuid7()
    values: dict[str, object] = {"name": "of a test", "scopes": ["read"], **options}
    assert await keys.create_key(NewKey(id_, tenant, secret.digest, secret.prefix, **values)) is not None  # type: ignore[arg-type]
    return secret.key, id_


async def test_a_key_is_looked_up_once(keys: Counted, ring: KeyRing) -> None:
    key, id_ = await stored(keys)
    assert ring.get(key) is None
    assert not ring.knows(key)
    for _ in range(3):
        await ring.learn(key)
        row = ring.get(key)
        assert row is not None
        assert (row.id, row.tenant, row.scopes, row.expires_at) == (id_, "acme", frozenset({"read"}), None)
    assert keys.looked_up == [1]


async def test_a_guess_is_looked_up_once_and_what_is_no_key_never(keys: Counted, ring: KeyRing) -> None:
    guess = new_secret().key
    for text in (guess, guess, "", "mp_x", guess[:-1], guess + "x", "mp_" + "é" * 52, "\udcff"):
        await ring.learn(text)
        assert ring.get(text) is None
    assert keys.looked_up == [1]


async def test_guesses_without_end_are_forgotten(keys: Counted, ring: KeyRing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("milepost.runtime.keys.UNKNOWN_MOST", 3)
    guesses = [new_secret().key for _ in range(5)]
    for guess in guesses:
        await ring.learn(guess)
    assert [ring.knows(guess) for guess in guesses] == [False, False, True, True, True]
    del keys


async def test_a_key_that_is_revoked_is_refused_after_the_next_look(keys: Counted, ring: KeyRing) -> None:
    (key, id_), (other, _) = await stored(keys), await stored(keys)
    told: list[frozenset[UUID]] = []
    ring.on_revoked = told.append
    await ring.learn(key)
    await ring.learn(other)
    await ring.refresh()
    assert await keys.revoke_key(id_, None) is not None
    assert ring.get(key) is not None
    for _ in range(2):
        await ring.refresh()
        with pytest.raises(KeyEnded, match="revoked"):
            ring.get(key)
    assert ring.get(other) is not None
    assert ring.is_revoked(id_)
    assert told == [{id_}]


async def test_a_key_revoked_before_it_was_seen_is_refused(keys: Counted, ring: KeyRing) -> None:
    key, id_ = await stored(keys)
    await keys.revoke_key(id_, None)
    await ring.learn(key)
    with pytest.raises(KeyEnded, match="revoked"):
        ring.get(key)


async def test_a_look_up_that_was_overtaken_by_a_revocation_lets_nobody_in(keys: Counted, ring: KeyRing) -> None:
    key, id_ = await stored(keys)

    class Overtaken(Keys):
        async def find_keys(self, digests: Sequence[bytes]) -> list[KeyRow | None]:
            found = await super().find_keys(digests)
            await keys.revoke_key(id_, None)
            await late.refresh()
            return found

    late = KeyRing(Overtaken(keys._pool))
    await late.learn(key)
    with pytest.raises(KeyEnded, match="revoked"):
        late.get(key)
    del ring


async def test_a_key_that_expired_is_refused_without_a_look(keys: Counted, ring: KeyRing) -> None:
    key, id_ = await stored(keys, expires_in=60.0)
    await keys._pool.execute("update milepost.api_keys set expires_at = now() - interval '1 ms' where id = $1", id_)
    await ring.learn(key)
    with pytest.raises(KeyEnded, match="expired"):
        ring.get(key)


async def test_quotas_are_read_when_first_wanted_and_when_they_change(keys: Counted) -> None:
    defaults = Quotas(queued=3)
    ring = KeyRing(keys, defaults=defaults)
    await keys._pool.execute("insert into milepost.tenants (name, requests, requests_per) values ('acme', 10, 2)")
    await ring.refresh()
    assert [ring.quotas(tenant) for tenant in ("acme", "other")] == [defaults, defaults]
    await ring.refresh()
    assert ring.quotas("acme") == Quotas(requests=10, requests_per=2.0, queued=3)
    assert ring.quotas("other") == defaults
    await keys._pool.execute("update milepost.tenants set queued = 5, requests = null, changed_at = now()")
    await keys._pool.execute("insert into milepost.tenants (name, queued_bytes) values ('other', 7)")
    await ring.refresh()
    assert ring.quotas("acme") == Quotas(queued=5)
    assert ring.quotas("other") == Quotas(queued=3, queued_bytes=7)


async def test_uses_are_written_together_and_survive_a_failure(keys: Counted, ring: KeyRing) -> None:
    held = [await stored(keys) for _ in range(3)]
    for key, _ in held:
        await ring.learn(key)
        ring.get(key)
    await ring.write_used()
    await ring.write_used()
    assert keys.written == [{id_ for _, id_ in held}]
    rows = await keys.list_keys("acme", None, 10, revoked=False)
    assert all(row["last_used_at"] is not None for row in rows)


async def test_a_tenant_has_so_many_keys_at_most(keys: Counted) -> None:
    _, id_ = await stored(keys)
    await keys._pool.execute(
        "insert into milepost.api_keys (id, tenant, digest, prefix, name, scopes)"
        " select gen_random_uuid(), 'acme', sha256(n::text::bytea), 'mp_x', 'many', '{read}'"
        " from generate_series(2, $1::int) as n",
        KEYS_MOST,
    )
    secret = new_secret()
    one_more = NewKey(uuids.uuid7(), "acme", secret.digest, secret.prefix, "one more", ["read"])
    assert await keys.create_key(one_more) is None
    await stored(keys, tenant="other")
    await keys.revoke_key(id_, "acme")
    assert await keys.create_key(one_more) is None, "every process remembers it for an hour"
    long_ago = "update milepost.api_keys set revoked_at = now() - interval '2 hours' where id = $1"
    await keys._pool.execute(long_ago, id_)
    assert await keys.create_key(one_more) is not None


async def test_keys_that_have_expired_take_nobodys_place(keys: Counted) -> None:
    await stored(keys)
    await keys._pool.execute(
        "insert into milepost.api_keys (id, tenant, digest, prefix, name, scopes, expires_at)"
        " select gen_random_uuid(), 'acme', sha256(n::text::bytea), 'mp_x', 'many', '{read}', now() - interval '1 s'"
        " from generate_series(2, $1::int) as n",
        KEYS_MOST,
    )
    secret = new_secret()
    assert await keys.create_key(NewKey(uuids.uuid7(), "acme", secret.digest, secret.prefix, "more", ["read"]))


async def test_another_tenants_key_is_not_revoked(keys: Counted) -> None:
    _, id_ = await stored(keys)
    assert await keys.revoke_key(id_, "other") is None
    [row] = await keys.find_keys([digest_of("x")])
    assert row is None
    [listed] = await keys.list_keys("acme", None, 10, revoked=False)
    assert listed["revoked_at"] is None


async def test_changes_say_when_they_were_read(keys: Counted) -> None:
    first = await keys.keys_changed(None, [])
    assert isinstance(first, Changes)
    assert isinstance(first.at, datetime)
    assert (await keys.keys_changed(first.at, [])).at >= first.at


async def test_the_quotas_of_a_tenant_come_with_its_key(keys: Counted, ring: KeyRing) -> None:
    ring.defaults = Quotas(queued=9)
    key, _ = await stored(keys)
    await keys.set_quotas("acme", 7, 5.0, None, None)
    await ring.learn(key)
    assert ring.quotas("acme") == Quotas(7, 5.0, 9)
    # What was changed in that very moment is not overlooked, and what is known is not taken back by another key.
    await keys.set_quotas("acme", 8, 5.0, None, None)
    await ring.refresh()
    known = ring.quotas("acme")
    assert known == Quotas(8, 5.0, 9)
    another, _ = await stored(keys)
    await keys.set_quotas("acme", 9, 5.0, None, None)
    await ring.learn(another)
    assert ring.quotas("acme") is known


async def test_who_asked_before_gets_the_quotas_that_come_with_a_key_too(keys: Counted, ring: KeyRing) -> None:
    key, _ = await stored(keys)
    await keys.set_quotas("acme", 7, 5.0, None, None)
    assert ring.quotas("acme") == Quotas()
    await ring.learn(key)
    assert ring.quotas("acme") == Quotas(7, 5.0)
