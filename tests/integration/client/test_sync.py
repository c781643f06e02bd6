"""The client without an event loop, against the real api, worker and notifier."""

import asyncio
import threading

import pytest
from pydantic import BaseModel

from milepost.client import SyncClient, SyncRun
from milepost.errors import InvalidPayload, NotFound, TaskFailed, WrongState
from milepost_schemas.feed import FeedFilter
from tests.system import System

pytestmark = pytest.mark.stack

NOBODY = "01941f29-7c00-7d3e-8a5b-0242ac120002"


class Counted(BaseModel):
    count: int


async def test_a_task_is_submitted_watched_and_read_without_a_loop(system: System) -> None:
    def use() -> None:
        with SyncClient(system.url, system.key) as client:
            run = client.submit("demo.count", {"to": 5, "delay": 0.05}, labels={"test": "sync"})
            kinds = [event.kind for event in run.watch()]
            assert (kinds[0], kinds[-1]) == ("snapshot", "succeeded")
            assert run.result(Counted) == Counted(count=5)
            assert [task.id for task in client.list(labels={"test": "sync"})] == [run.id]
            assert client.get(run.id).state == "succeeded"
            assert [attempt.outcome for attempt in client.attempts(run.id)] == ["succeeded"]
            assert "demo.count" in {info.type for info in client.types()}
            assert len(client.workers()) == 1
            for event in client.submit("demo.count", {"to": 100, "delay": 1}).watch():
                if event.kind != "snapshot":
                    break
            client.run(event.task.id).cancel()

    await asyncio.to_thread(use)


async def test_refusals_and_failures_are_those_of_the_client(system: System) -> None:
    def use() -> None:
        with SyncClient(system.url, system.key) as client:
            with pytest.raises(NotFound):
                client.get(NOBODY)
            with pytest.raises(InvalidPayload) as refused:
                client.submit("demo.count", {"to": "ten"})
            assert refused.value.findings[0].path == "/payload/to"
            good, bad = client.submit_batch([{"type": "demo.echo", "payload": {"a": 1}}, {"type": "no.such"}])
            assert isinstance(good, SyncRun)
            assert good.result() == {"a": 1}
            assert not isinstance(bad, SyncRun)
            with pytest.raises(WrongState):
                good.cancel()
            failed = client.submit("test.permanent", {"words": "never"})
            with pytest.raises(TaskFailed, match="never"):
                failed.result()
            assert any(group.type == "test.permanent" for group in client.dead_letters.groups())
            assert client.dead_letters.get(failed.id).task is not None
            assert failed.retry().state != "failed"

    await asyncio.to_thread(use)


async def test_one_request_brings_the_result_of_a_short_task(system: System) -> None:
    def use() -> None:
        with SyncClient(system.url, system.key) as client:
            run = client.submit("demo.echo", {"a": 1}, wait=30)
            assert (run.task.state, run.task.result) == ("succeeded", {"a": 1})
            slow = client.submit("demo.count", {"to": 1000, "delay": 1}, wait=0.2)
            assert not slow.task.state.terminal
            slow.cancel()

    await asyncio.to_thread(use)


async def test_children_and_trees_are_listed(system: System) -> None:
    def use() -> None:
        with SyncClient(system.url, system.key) as client:
            root = client.submit("demo.echo", {})
            child = client.submit("demo.echo", {}, parent_id=root.id)
            below = client.submit("demo.echo", {}, parent_id=child.id)
            assert [task.id for task in root.children()] == [child.id]
            assert [task.id for task in client.children(root.id, state="cancelled")] == []
            assert [task.id for task in client.list(root_id=root.id)] == [below.id, child.id, root.id]
            token = client.watch_token(feed=True, filter=FeedFilter(root=root.id))
            with SyncClient(system.url, token) as page:
                assert len(list(page.list())) == 3
                assert page.ticket()
            assert client.ticket(task=root.id, ttl=60)

    await asyncio.to_thread(use)


async def test_threads_share_a_client(system: System) -> None:
    def use() -> None:
        with SyncClient(system.url, system.key) as client:
            results: list[int] = []

            def one(number: int) -> None:
                results.append(client.submit("demo.echo", {"n": number}).result()["n"])

            threads = [threading.Thread(target=one, args=(number,)) for number in range(16)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert sorted(results) == list(range(16))

    await asyncio.to_thread(use)


async def test_tokens_are_fetched_by_a_plain_function_or_an_async_one(system: System) -> None:
    def use() -> None:
        with SyncClient(system.url, system.key) as client:
            run = client.submit("demo.echo", {"a": 1})

            def fetch() -> str:
                return client.watch_token(task=run.id)

            async def fetch_async() -> str:
                return await asyncio.to_thread(fetch)

            for token in (fetch, fetch_async):
                with SyncClient(system.url, token=token) as page:
                    assert page.run(run.id).result() == {"a": 1}

    await asyncio.to_thread(use)
