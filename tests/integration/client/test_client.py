"""The client against the real api, worker and notifier."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest
from pydantic import BaseModel

from milepost.client import Client, Run
from milepost.errors import Refused, TaskFailed
from milepost_schemas.task import TaskState
from tests.conftest import eventually
from tests.proxy import proxy_to
from tests.server_sent import blocks_in
from tests.system import System

pytestmark = pytest.mark.stack

NOBODY = "01941f29-7c00-7d3e-8a5b-0242ac120002"


class Counted(BaseModel):
    count: int


async def test_a_task_is_watched_from_snapshot_to_end(system: System) -> None:
    async with system.client() as client:
        run = await client.submit("demo.count", {"to": 5, "delay": 0.05}, labels={"test": "watch"})
        events = [event async for event in run.watch()]
        positions = [event.at for event in events]
        assert positions == sorted(set(positions))
        assert events[0].kind == "snapshot"
        assert events[-1].kind == "succeeded"
        assert events[-1].task.progress is not None
        assert events[-1].task.progress.done == 5
        assert events[-1].task.links is not None
        assert await run.result(Counted) == Counted(count=5)
        shown = events[-1].task
        assert await run.refresh() == shown


async def test_the_links_of_a_task_lead_to_its_events(system: System) -> None:
    async with system.client() as client, aiohttp.ClientSession() as session:
        run = await client.submit("demo.count", {"to": 3, "delay": 0.05})
        links = (await run.refresh()).links
        assert links is not None
        async with session.get(links.events, headers={"Authorization": f"Bearer {system.key}"}) as response:
            blocks = [block async for block in blocks_in(response.content, 30) if block.kind]
        assert blocks[-1].kind == "end"
        assert blocks[-1].frame["task"]["result"] == {"count": 3}


async def test_a_task_that_is_over_is_told_in_one_event(system: System) -> None:
    async with system.client() as client:
        run = await client.submit("demo.echo", {"a": [1, None, "ü"]})
        assert await run.result() == {"a": [1, None, "ü"]}
        again = client.run(run.id)
        assert [event.kind async for event in again.watch()] == ["succeeded"]


async def test_one_socket_carries_many_watches_and_spills_beyond_its_limit(system: System) -> None:
    async with system.client() as client:
        batch = await client.submit_batch({"type": "demo.count", "payload": {"to": 3}} for _ in range(150))
        runs = [run for run in batch if isinstance(run, Run)]
        assert len(runs) == 150
        assert [result["count"] for result in await asyncio.gather(*(run.result() for run in runs))] == [3] * 150
        (stream,) = client._streams.values()
        assert stream.connections == 2


async def test_a_batch_answers_each_on_its_own(system: System) -> None:
    async with system.client() as client:
        good, bad, again = await client.submit_batch(
            [
                {"type": "demo.echo", "payload": {"n": 1}, "idempotency_key": "batch-1"},
                {"type": "demo.count", "payload": {"to": -1}},
                {"type": "demo.echo", "payload": {"n": 1}, "idempotency_key": "batch-1"},
            ]
        )
        assert isinstance(good, Run)
        assert isinstance(again, Run)
        assert good.id == again.id
        assert isinstance(bad, Refused)
        assert bad.status == 422


async def test_the_same_key_finds_the_same_task(system: System) -> None:
    async with system.client() as client:
        first = await client.submit("demo.echo", {"n": 1}, idempotency_key="one")
        assert (await client.submit("demo.echo", {"n": 1}, idempotency_key="one")).id == first.id
        with pytest.raises(Refused) as other:
            await client.submit("demo.echo", {"n": 2}, idempotency_key="one")
        assert other.value.status == 422


async def test_failures_carry_the_task(system: System) -> None:
    async with system.client() as client:
        run = await client.submit("test.permanent", {"words": "not today"})
        with pytest.raises(TaskFailed, match="not today"):
            await run.result(timeout=20)


async def test_a_result_too_large_for_the_task_is_fetched(system: System) -> None:
    async with system.client() as client:
        run = await client.submit("test.large", {"size": 300_000})
        assert len(await run.result(str)) == 300_000
        assert run.task.result is None


async def test_waiting_can_be_given_up_and_the_task_cancelled(system: System, tmp_path: Path) -> None:
    async with system.client() as client:
        run = await client.submit("test.gate", {"path": str(tmp_path / "never")})
        with pytest.raises(TimeoutError):
            await run.result(timeout=0.3)
        await run.cancel()
        with pytest.raises(TaskFailed, match="was cancelled"):
            await run.result(timeout=20)


async def test_lists_come_page_by_page(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("milepost.client.client.PAGE", 2)
    async with system.client() as client:
        runs = [await client.submit("demo.echo", {"n": n}, labels={"test": "pages"}) for n in range(5)]
        newest_first = [run.id for run in reversed(runs)]
        assert [task.id async for task in client.list(labels={"test": "pages"})] == newest_first
        assert [task.id async for task in client.list(labels={"test": "pages"}, limit=3)] == newest_first[:3]


async def test_types_and_workers_are_listed(system: System) -> None:
    async with system.client() as client:
        assert "demo.count" in {info.type for info in await client.types()}
        assert [worker.pid for worker in await client.workers()] == [system.workers[0].pid]


async def test_what_is_refused_says_so_everywhere(system: System) -> None:
    async with Client(system.url, "wrong", stream_url=system.streams[0]) as stranger:
        with pytest.raises(Refused) as unknown:
            await stranger.get(NOBODY)
        assert unknown.value.status == 401
        with pytest.raises(Refused, match="bad token"):
            await anext(stranger.run(NOBODY).watch())
    async with Client(system.url, system.key, stream_url=system.streams[0]) as client:
        with pytest.raises(Refused) as missing:
            await anext(client.run(NOBODY).watch())
        assert missing.value.status == 404


async def test_connections_that_failed_for_good_are_not_kept(system: System) -> None:
    async with Client(system.url, "wrong", stream_url=system.streams[0]) as stranger:
        for _ in range(3):
            with pytest.raises(Refused, match="bad token"):
                await anext(stranger.run(NOBODY).watch())
        (stream,) = stranger._streams.values()

        async def gone() -> bool:
            return not stream._connections and not stream._runners

        await eventually(gone, "the connections to be forgotten")


async def test_a_watch_that_begins_while_its_stream_waits_to_come_back_asks_the_api(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long that wait is, and although nobody watched when the stream was lost."""
    monkeypatch.setattr("milepost.client.connection.jittered", lambda *_args, **_named: 3600.0)
    port = system.streams[0].removesuffix("/v1/stream").rpartition(":")[2]
    async with (
        proxy_to(int(port)) as line,
        Client(system.url, system.key, stream_url=f"ws://127.0.0.1:{line.port}/v1/stream") as client,
    ):
        first = await client.submit("demo.echo", {"n": 1})
        assert [event.kind async for event in first.watch()][-1] == "succeeded"
        (stream,) = client._streams.values()
        line.cut()

        async def lost() -> bool:
            return stream.connections == 0

        await eventually(lost, "the stream to be lost")
        second = await client.submit("demo.echo", {"n": 2})
        assert await second.result(timeout=20) == {"n": 2}


async def test_a_watch_survives_the_death_of_the_notifier(system: System, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    (notifier,) = system.notifiers
    async with system.client() as client:
        run = await client.submit("test.gate", {"path": str(gate)})
        events = []
        async for event in run.watch():
            events.append(event)
            if event.kind == "progress" and not gate.exists():
                notifier.kill()
                await notifier.wait()
                await notifier.start()
                gate.touch()
        assert events[-1].kind == "succeeded"
        assert events[-1].task.result == {"attempt": 1}
        # What the api says while there is no stream stands at the position that was reached.
        assert [event.at for event in events] == sorted(event.at for event in events)
        told = [event.at for event in events if event.kind in {"started", "progress"}]
        assert told == sorted(set(told))
    await system.ready(system.notifier_urls[0])


async def test_without_a_notifier_the_api_is_asked(system: System, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    async with Client(system.url, system.key, stream_url="ws://127.0.0.1:9/v1/stream") as client:
        run = await client.submit("test.gate", {"path": str(gate)})
        kinds = []
        async for event in run.watch():
            kinds.append(event.kind)
            gate.touch()
        assert kinds[-1] == "succeeded"
        assert set(kinds[:-1]) == {"snapshot"}


async def test_a_watch_that_is_left_frees_its_subscription(system: System, tmp_path: Path) -> None:
    async with system.client() as client:
        run = await client.submit("test.gate", {"path": str(tmp_path / "never")})
        watch = run.watch()
        await anext(watch)
        (stream,) = client._streams.values()
        assert sum(len(connection._subscriptions) for connection in stream._connections) == 1
        await watch.aclose()
        assert sum(len(connection._subscriptions) for connection in stream._connections) == 0
        await run.cancel()


async def test_closing_the_client_ends_its_watches(system: System, tmp_path: Path) -> None:
    client = system.client()
    async with client:
        run = await client.submit("test.gate", {"path": str(tmp_path / "never")})
        waiting = asyncio.create_task(run.result())

        async def watching() -> bool:
            return any(stream.connections for stream in client._streams.values())

        await eventually(watching, "an open stream")
    with pytest.raises(Exception, match="client was closed"):
        await waiting
    async with system.client() as other:
        await other.cancel(run.id)


async def test_a_restart_of_the_api_is_waited_for(system: System) -> None:
    async with system.client() as client:
        system.api.kill()
        await system.api.wait()
        submitted = asyncio.create_task(client.submit("demo.echo", {"n": 1}, idempotency_key="restart"))
        await system.api.start()
        run = await submitted
        assert await run.result(timeout=20) == {"n": 1}


async def test_ids_are_unique_across_the_counts_of_a_client(system: System) -> None:
    async with system.client() as client:
        runs = [await client.submit("demo.echo", {"same": True}) for _ in range(3)]
        assert all(a.id != b.id for a, b in itertools.pairwise(runs))


async def test_cancelling_a_parent_ends_the_watches_of_its_children_too(system: System, tmp_path: Path) -> None:
    never = {"path": str(tmp_path / "never")}
    async with system.client() as client:
        parent = await client.submit("test.gate", never)
        runs = await client.submit("test.gate", never, parent_id=parent.id)
        waits = await client.submit("test.gate", never, parent_id=runs.id, delay=600)

        async def both_run() -> bool:
            return {(await parent.refresh()).state, (await runs.refresh()).state} == {TaskState.RUNNING}

        await eventually(both_run, "parent and child to run")
        await parent.cancel()
        for run in (parent, runs, waits):
            async with asyncio.timeout(20):
                assert [event.kind async for event in run.watch()][-1] == "cancelled"


async def test_a_failed_task_is_found_shown_and_retried(system: System) -> None:
    async with system.client() as client:
        run = await client.submit("test.permanent", {"words": "no use 17"})
        with pytest.raises(TaskFailed):
            await run.result()
        assert run.task.error is not None
        fingerprint = run.task.error.fingerprint
        assert fingerprint is not None
        groups = [group async for group in client.dead_letters.groups(type="test.permanent")]
        assert fingerprint in {group.fingerprint for group in groups}
        assert run.id in {letter.id async for letter in client.dead_letters.members(fingerprint)}
        assert (await client.dead_letters.get(run.id)).task == await run.refresh()
        dry = await client.dead_letters.replay(ids=[run.id], dry_run=True)
        assert (dry.ids, (await run.refresh()).state) == ([run.id], TaskState.FAILED)
        assert (await run.retry()).epoch == 2
        with pytest.raises(TaskFailed):
            await run.result()
        assert [one.outcome for one in await client.attempts(run.id)] == ["failed", "failed"]
        with pytest.raises(Refused, match="say which"):
            await client.dead_letters.replay()


async def test_a_watch_token_is_a_key_to_what_it_covers(system: System, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    async with system.client() as client:
        run = await client.submit("test.gate", {"path": str(gate), "steps": 2})
        assert run.watch_token is not None
        other = await client.submit("demo.echo", {})
    async with Client(system.url, run.watch_token) as page:
        mine = page.run(run.id)
        watching = asyncio.create_task(_kinds(mine))
        gate.touch()
        assert (await watching)[-1] == "succeeded"
        assert await mine.result() == {"attempt": 1}
        for refused in (page.run(other.id).refresh(), _kinds(page.run(other.id)), page.submit("demo.echo", {})):
            with pytest.raises(Refused) as error:
                await refused
            assert error.value.status == 403


async def test_a_watch_goes_on_over_tokens_that_run_out_one_after_the_other(system: System, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    given: list[str] = []
    async with system.client() as backend:
        run = await backend.submit("test.gate", {"path": str(gate), "steps": 2})

        async def fetch() -> str:
            if len(given) == 1:
                given.append("")
                raise ConnectionError("the page's own backend is away for a moment")
            given.append(await backend.watch_token(task=run.id, ttl=4))
            return given[-1]

        async with Client(system.url, token=fetch, stream_url=system.streams[0]) as page:
            watching = asyncio.create_task(_kinds(page.run(run.id)))
            await eventually(_given(given, 4), "four tokens to be asked for", 60)
            gate.touch()
            kinds = await watching
    assert kinds[-1] == "succeeded"
    assert kinds.count("succeeded") == 1


async def test_a_token_that_has_run_out_is_said_to_have(system: System) -> None:
    async with system.client() as client:
        run = await client.submit("demo.count", {"to": 200, "delay": 0.1})
        token = await client.watch_token(task=run.id, ttl=1)
        async with Client(system.url, token, stream_url=system.streams[0]) as page:
            with pytest.raises(Refused, match="expired"):
                await _kinds(page.run(run.id))
        await run.cancel()


def _given(tokens: list[str], count: int) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        return len(tokens) >= count

    return check


async def _kinds(run: Run) -> list[str]:
    return [event.kind async for event in run.watch()]
