"""Pages for development, where a setting names folders with some."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from milepost.runtime.settings import Settings
from milepost.store import Store
from tests.integration.api.serving import Api, served

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
async def showing(
    settings: Settings, store: Store, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[Api, Path]]:
    """Serve the pages of two folders; both have a script of the same name."""
    del store
    above = tmp_path_factory.mktemp("pages")
    folders = [above / "first", above / "second"]
    for folder in folders:
        folder.mkdir()
        (folder / "both.js").write_text(folder.name)
    (folders[0] / "index.html").write_text("<p>Hello</p>")
    (folders[1] / "secret.key").write_text("key")
    (above / "outside.html").write_text("outside")
    (folders[1] / "inside.html").mkdir()
    changed = {"pages": folders, "events_url": "https://events.example/live", "api_key": SecretStr("other")}
    async with served(settings.model_copy(update=changed)) as api:
        yield api, folders[0]


async def test_a_page_may_speak_to_us_and_the_notifier_and_run_no_script_of_its_own_text(
    showing: tuple[Api, Path],
) -> None:
    page = await showing[0].get("/try/", key=None)
    assert (page.status, page.content) == (200, b"<p>Hello</p>")
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    policy = page.headers["Content-Security-Policy"]
    assert "connect-src 'self' wss://stream.example https://events.example;" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


async def test_the_first_folder_that_has_a_file_counts_and_it_is_read_each_time(showing: tuple[Api, Path]) -> None:
    api, folder = showing
    assert (await api.get("/try/both.js", key=None)).content == b"first"
    (folder / "both.js").write_text("changed")
    assert (await api.get("/try/both.js", key=None)).content == b"changed"


async def test_pages_learn_where_the_notifier_is(showing: tuple[Api, Path]) -> None:
    answer = await showing[0].get("/try/addresses.json", key=None)
    assert answer.json == {"stream": "wss://stream.example/v1/stream", "events": "https://events.example/live"}


@pytest.mark.parametrize(
    "name", ["nothing.html", "secret.key", "..%2Foutside.html", "%2Fetc%2Fpasswd", "inside.html", ".html", "first"]
)
async def test_nothing_else_can_be_had(showing: tuple[Api, Path], name: str) -> None:
    answer = await showing[0].get(f"/try/{name}", key=None)
    assert (answer.status, answer.kind) == (404, "not-found")


async def test_the_folder_is_entered_by_its_name(showing: tuple[Api, Path]) -> None:
    answer = await showing[0].get("/try", key=None, allow_redirects=False)
    assert (answer.status, answer.headers["Location"]) == (308, "/try/")


async def test_without_the_setting_there_are_no_pages(api: Api) -> None:
    assert (await api.get("/try/", key=None)).status == 404
