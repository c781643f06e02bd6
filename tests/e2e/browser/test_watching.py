"""What a page is told when nothing breaks."""

import aiohttp
import pytest

from milepost.client import Client, Run
from tests.chromium import Page
from tests.conftest import eventually
from tests.e2e.browser.conftest import Show, Ways

pytestmark = pytest.mark.stack


async def token_for(ways: Ways, run: Run, ttl: int = 600) -> str:
    """Return a token for a task, as a backend gets it for its pages."""
    headers = {"Authorization": f"Bearer {ways.system.key}"}
    asked = {"task": str(run.id), "ttl": ttl}
    url = f"{ways.system.url}/v1/watch-tokens"
    async with aiohttp.ClientSession(headers=headers) as session, session.post(url, json=asked) as response:
        return str((await response.json())["token"])


async def is_over(ways: Ways, run: Run, token: str) -> bool:
    """Whether a token has run out."""
    headers = {"Authorization": f"Bearer {token}"}
    url = f"{ways.system.url}/v1/tasks/{run.id}"
    async with aiohttp.ClientSession(headers=headers) as session, session.get(url) as response:
        return response.status == 401


async def test_a_page_shows_a_task_to_its_end(show: Show) -> None:
    told = await (shown := await show("demo.count", {"to": 30, "delay": 0.05})).ends()
    assert shown.vias == ["stream"]
    assert "progress" in [event["kind"] for event in told]
    assert told[-1]["kind"] == "succeeded"


async def test_who_comes_late_is_told_what_was_said_before(show: Show, client: Client) -> None:
    run = await client.submit("demo.write", {"text": "to be or not", "delay": 0.12})
    assert await run.result() == {"words": 4}
    told = await (await show(run, tail=50)).ends()
    assert [event["kind"] for event in told][0 :: len(told) - 1] == ["log", "succeeded"]
    assert "".join(event.get("chunk", "") for event in told) == "to be or not "


async def test_a_watch_that_the_page_closes_tells_nothing_more(show: Show, client: Client) -> None:
    run = await client.submit("demo.write", {"text": "to be or not", "delay": 0.12})
    await run.result()
    shown = await show(run, tail=50)
    assert len(await shown.ends()) > 2
    script = f"""new Promise((resolve) => {{
        const told = [];
        const onEvent = ({{ kind }}) => told.push(kind) && watch.close();
        const watch = client.watch("{run.id}", {{ tail: 50, onEvent }});
        watch.finished.catch(() => setTimeout(() => resolve(told), 500));
    }})"""
    assert await shown.tab.run(script) == ["log"]


async def test_a_task_that_is_cancelled_ends(show: Show) -> None:
    shown = await show("demo.count", {"to": 1000, "delay": 0.1})
    await shown.gets(2)
    await shown.is_cancelled()


async def test_a_key_that_is_wrong_ends_the_watch_with_the_reason(show: Show) -> None:
    shown = await show("demo.echo", {}, token="mp_wrong")
    await shown.tab.shows("document.getElementById('error').textContent.startsWith('4500')")


async def test_a_task_that_is_not_there_is_said_not_to_be(show: Show, ways: Ways) -> None:
    shown = await show("demo.echo", {})
    await shown.tab.run(f"watch('0198c1de-0000-7000-8000-000000000000', '{ways.system.key}')")
    await shown.tab.shows("document.getElementById('error').textContent.startsWith('not_found')")


async def test_a_page_with_a_token_gets_another_before_it_runs_out_and_nobody_notices(
    ways: Ways, show: Show, client: Client
) -> None:
    run = await client.submit("demo.count", {"to": 2_000, "delay": 0.05})
    first = await token_for(ways, run, ttl=3)
    shown = await show(run, tokens=[first, await token_for(ways, run)])
    await shown.tab.shows("asked === 2")
    await eventually(lambda: is_over(ways, run, first), "the first token to be of no use any more")
    await shown.gets(await shown.tab.run("one.task.progress.done") + 5)
    await shown.is_cancelled()
    assert shown.vias == ["stream"]


async def test_a_page_with_a_token_can_ask_where_nothing_else_gets_through(
    ways: Ways, show: Show, client: Client
) -> None:
    await ways.stream.refuse()
    await ways.events.refuse()
    run = await client.submit("demo.count", {"to": 60, "delay": 0.05})
    await (await show(run, tokens=[await token_for(ways, run)])).ends()


async def test_the_page_to_try_things_with_shows_what_it_starts_and_what_others_start(
    ways: Ways, tab: Page, client: Client
) -> None:
    await tab.open(f"{ways.system.url}/try/#key={ways.system.key}")
    await tab.shows("document.getElementById('status').textContent === 'live'")
    assert await tab.run("location.href") == f"{ways.system.url}/try/"
    await tab.run("document.querySelector('[data-start=count]').click()")
    await tab.shows("document.querySelector('article[data-state=running] h2')?.textContent === 'Count to 100'")
    await client.submit("demo.echo", {}, labels={"name": "from elsewhere"})
    await tab.shows("document.querySelector('article[data-state=succeeded] h2')?.textContent === 'from elsewhere'")
    await tab.run("document.querySelector('[data-start=tree]').click()")
    await tab.shows("document.querySelectorAll('.tree li[data-state=running]').length > 3")
    await tab.shows("document.querySelector('.tree li[data-state=succeeded] .name')?.textContent === 'Upload, flaky'")
    await tab.run("[...document.querySelectorAll('article[data-state=running] .act')].at(-1).click()")
    await tab.shows("document.querySelectorAll('article[data-state=cancelled]').length === 1")
