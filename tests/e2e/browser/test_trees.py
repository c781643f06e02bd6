"""A page that watches a task is told of everything below it, by every way there is."""

import pytest

from milepost.client import Client, Run
from tests.e2e.browser.conftest import Show, Ways

pytestmark = pytest.mark.stack

LONG = {"to": 2_000, "delay": 0.05}


async def child(client: Client, parent: Run) -> Run:
    """Submit a task below another and return it once it has ended."""
    run = await client.submit("demo.count", {"to": 3, "delay": 0.05}, parent_id=parent.id)
    await run.result()
    return run


async def test_a_tree_is_shown_with_what_was_there_before_and_what_comes_later(show: Show, client: Client) -> None:
    root = await client.submit("demo.count", LONG)
    await child(client, root)
    shown = await show(root, tree=True)
    await shown.counts(tasks=2, ended=1)
    second = await client.submit("demo.count", LONG, parent_id=root.id)
    await child(client, second)
    await shown.counts(tasks=4, ended=2)
    await second.cancel()
    await shown.counts(tasks=4, ended=3)
    assert 0.5 < await shown.tab.run("one.progress.fraction") < 1
    told = await shown.is_cancelled()
    assert len({event["id"] for event in told}) == 4


async def test_what_happens_in_a_tree_while_a_page_is_cut_off_is_told_when_it_is_back(
    show: Show, ways: Ways, client: Client
) -> None:
    root = await client.submit("demo.count", LONG)
    shown = await show(root, tree=True, events=None, api=None)
    first = await client.submit("demo.count", LONG, parent_id=root.id)
    await shown.counts(tasks=2, ended=0)
    await ways.stream.refuse()
    await shown.goes("nothing")
    await first.cancel()
    await child(client, root)
    await ways.stream.listen()
    await shown.counts(tasks=3, ended=2)
    await shown.is_cancelled()


async def test_a_tree_is_shown_without_websockets(show: Show, ways: Ways, client: Client) -> None:
    await ways.stream.refuse()
    root = await client.submit("demo.count", LONG)
    shown = await show(root, tree=True)
    await shown.goes("events")
    first = await client.submit("demo.count", LONG, parent_id=root.id)
    await child(client, first)
    await shown.counts(tasks=3, ended=1)
    await ways.events.refuse()
    await shown.goes("polling")
    await child(client, root)
    await child(client, await client.submit("demo.count", LONG, parent_id=first.id))
    await shown.counts(tasks=6, ended=3)
    told = await shown.is_cancelled()
    assert len({event["id"] for event in told}) == 6


async def test_a_token_for_a_task_shows_its_whole_tree_where_only_asking_gets_through(
    show: Show, ways: Ways, client: Client
) -> None:
    await ways.stream.refuse()
    await ways.events.refuse()
    root = await client.submit("demo.count", LONG)
    assert root.watch_token is not None
    shown = await show(root, tree=True, tokens=[root.watch_token])
    await shown.goes("polling")
    await child(client, await client.submit("demo.count", LONG, parent_id=root.id))
    await shown.counts(tasks=3, ended=1)
    await shown.is_cancelled()


async def test_a_failed_child_is_counted_and_one_that_is_retried_runs_again(show: Show, client: Client) -> None:
    root = await client.submit("demo.count", LONG)
    shown = await show(root, tree=True)
    failing = await client.submit("demo.fail", {"times": 2}, max_attempts=1, parent_id=root.id)
    await shown.tab.shows("one.progress.failed === 1")
    await failing.retry()
    await shown.tab.shows(
        f"told.filter((event) => event.id === '{failing.id}' && event.kind === 'failed').length === 2"
    )
    await shown.is_cancelled()
