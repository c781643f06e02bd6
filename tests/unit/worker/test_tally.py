"""How many tasks ended of late."""

import orjson
import pytest

from milepost_worker.tally import Tally


def test_rates_are_since_the_last_beat_and_by_queue_and_tenant(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("milepost_worker.tally.time.monotonic", lambda: now[0])
    ended = Tally()
    for queue, tenant in [("q", "a"), ("q", "a"), ("q", "b"), ("r", "a")]:
        ended.add(queue, tenant)
    now[0] += 2
    rates = ended.rates()
    assert rates is not None
    assert orjson.loads(rates) == {"q": {"a": 1.0, "b": 0.5}, "r": {"a": 0.5}}
    now[0] += 2
    assert ended.rates() is None
