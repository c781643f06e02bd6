"""The client without an event loop: that it has all of the other, and its thread."""

import asyncio
import contextlib
import contextvars
import inspect
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from milepost.client import Client, Run, SyncClient, SyncRun
from milepost.client.dead_letters import DeadLetters
from milepost.client.keys import Keys
from milepost.client.portal import Portal
from milepost.client.queues import Queues
from milepost.client.sync import SyncDeadLetters, SyncKeys, SyncQueues, SyncTenants, SyncWebhooks
from milepost.client.tenants import Tenants
from milepost.client.webhooks import Webhooks
from milepost.errors import ClientError, Unreachable

FOR_RUN = {"view", "result", "stream_for", "patience"}
"""Members of Client that only a Run uses."""
OPERATIONS = {
    "submit_task": "submit", "submit_tasks": "submit_batch", "get_task": "get", "list_tasks": "list",
    "list_children": "children", "get_result": "run", "cancel_task": "cancel", "retry_task": "retry",
    "list_attempts": "attempts", "make_watch_token": "watch_token", "make_ticket": "ticket", "list_types": "types",
    "list_workers": "workers", "get_quotas": "quotas",
    "list_dead_letter_groups": "dead_letters.groups", "list_dead_letters": "dead_letters.members",
    "get_dead_letter": "dead_letters.get", "replay_dead_letters": "dead_letters.replay",
    "make_key": "keys.create", "list_keys": "keys.list", "revoke_key": "keys.revoke",
    "list_queues": "queues.list", "pause_queue": "queues.pause", "resume_queue": "queues.resume",
    "set_queue_limits": "queues.limit", "list_limits": "queues.limits", "set_limit": "queues.limit",
    "set_retention": "queues.keep",
    "explain_task": "queues.explain", "list_events": "queues.events",
    "list_tenants": "tenants.list", "set_quotas": "tenants.set",
    "create_webhook": "webhooks.create", "list_webhooks": "webhooks.list", "get_webhook": "webhooks.get",
    "change_webhook": "webhooks.change", "delete_webhook": "webhooks.delete",
    "rotate_webhook_secret": "webhooks.rotate_secret", "ping_webhook": "webhooks.ping",
    "list_webhook_deliveries": "webhooks.deliveries", "get_webhook_delivery": "webhooks.delivery",
    "replay_webhook_deliveries": "webhooks.replay",
}  # fmt: skip
"""What the API does → how one asks for it."""
OF_THE_INSTALLATION = {"livez", "readyz"}
"""For probes and balancers, which are no clients of ours."""


def _public(of: type) -> set[str]:
    return {name for name in vars(of) if not name.startswith("_")}


@pytest.mark.parametrize(
    ("facade", "of"),
    [
        (SyncClient, Client),
        (SyncRun, Run),
        (SyncDeadLetters, DeadLetters),
        (SyncKeys, Keys),
        (SyncTenants, Tenants),
        (SyncWebhooks, Webhooks),
        (SyncQueues, Queues),
    ],
)
def test_the_facade_has_every_word_of_what_it_stands_for(facade: type, of: type) -> None:
    assert _public(of) - FOR_RUN - (_public(facade) | {"id", "watch_token", "result"}) == set()
    for name in _public(of) & _public(facade):
        ours, theirs = inspect.getattr_static(facade, name), inspect.getattr_static(of, name)
        if inspect.isfunction(ours) and name != "close":
            assert list(inspect.signature(ours).parameters) == list(inspect.signature(theirs).parameters), name
    ours, theirs = (
        {name: (one.kind, one.default) for name, one in inspect.signature(each).parameters.items()}
        for each in (SyncClient, Client)
    )
    assert ours == theirs


def test_each_operation_of_the_api_has_a_method() -> None:
    document = json.loads((Path(__file__).parents[3] / "schemas/published/openapi.json").read_text())
    named = {each["operationId"] for path in document["paths"].values() for each in path.values()}
    assert named - OPERATIONS.keys() == OF_THE_INSTALLATION, "say in OPERATIONS which method of the client does it"
    for name in OPERATIONS.values():
        found: Any = SyncClient("http://127.0.0.1:9", "key")
        for part in name.split("."):
            found = getattr(found, part)
        assert callable(found)


@pytest.fixture
def portal() -> Iterator[Portal]:
    opened = Portal("test")
    opened.open()
    yield opened
    opened.close()


async def _fail() -> None:
    raise LookupError("nothing")


def test_what_is_raised_there_is_raised_here(portal: Portal) -> None:
    with pytest.raises(LookupError, match="nothing"):
        portal.wait(_fail())


def test_many_threads_wait_at_the_same_time(portal: Portal) -> None:
    """Each waits for all the others: were one let in after the other, none would come back."""
    count, met = 20, asyncio.Barrier(20)

    async def meet() -> None:
        await met.wait()

    threads = [threading.Thread(target=portal.wait, args=(meet(),)) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
        assert not thread.is_alive()


def test_the_callers_context_goes_along(portal: Portal) -> None:
    said = contextvars.ContextVar("said", default="nothing")
    said.set("something")

    async def hear() -> str:
        return said.get()

    assert portal.wait(hear()) == "something"


def test_an_iteration_that_is_left_ends_what_it_iterates_over(portal: Portal) -> None:
    ended = threading.Event()

    async def count() -> AsyncIterator[int]:
        try:
            for number in range(1000):
                yield number
        finally:
            ended.set()

    numbers = portal.each(count())
    assert [next(numbers), next(numbers)] == [0, 1]
    numbers.close()  # type: ignore[attr-defined]
    assert ended.is_set()
    assert list(portal.each(_three())) == [0, 1, 2]


async def _three() -> AsyncIterator[int]:
    for number in range(3):
        yield number


def test_who_waits_when_the_client_is_closed_is_told(portal: Portal) -> None:
    begun, raised = threading.Event(), []

    async def forever() -> None:
        begun.set()
        await asyncio.Event().wait()

    def wait() -> None:
        try:
            portal.wait(forever())
        except ClientError as error:
            raised.append(str(error))

    thread = threading.Thread(target=wait)
    thread.start()
    assert begun.wait(30)
    portal.close()
    thread.join(30)
    assert raised == ["The client was closed while this call was waiting."]


def test_the_clients_own_thread_is_not_kept_waiting_for_itself(portal: Portal) -> None:
    ended = threading.Event()

    async def count() -> AsyncIterator[int]:
        try:
            yield 0
            yield 1
        finally:
            ended.set()

    numbers = portal.each(count())
    assert next(numbers) == 0

    async def there() -> None:
        with pytest.raises(ClientError, match="own thread"):
            portal.wait(_fail())
        numbers.close()  # type: ignore[attr-defined]  # as when it was garbage, and collected here

    portal.wait(there())
    assert ended.wait(30)


def test_nothing_waits_for_ever_for_a_client_that_is_closed_at_that_moment() -> None:
    for _ in range(200):
        portal = Portal("test")
        portal.open()
        threads = [threading.Thread(target=_waits, args=(portal,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        portal.close()
        for thread in threads:
            thread.join(timeout=30)
            assert not thread.is_alive()


def _waits(portal: Portal) -> None:
    with contextlib.suppress(ClientError):
        portal.wait(asyncio.sleep(3600))


def test_a_client_that_is_not_open_says_how_to_open_it() -> None:
    with pytest.raises(ClientError, match="with SyncClient"):
        SyncClient("http://127.0.0.1:9", "key").types()


def test_nobody_there_is_unreachable() -> None:
    with SyncClient("http://127.0.0.1:9", "key", repeat_for=0.1) as client:
        with pytest.raises(Unreachable):
            client.submit("demo.count")
        with pytest.raises(Unreachable):
            next(client.list())
    client.close()  # once more does nothing


class _InterruptedWhileHandingOver(Portal):
    """Ctrl-C comes once, while the thread tells the loop of a step: before the loop knows, or after it began."""

    def __init__(self, *, begun: threading.Event | None) -> None:
        super().__init__("test")
        self._begun = begun
        self._interruptions = 1

    def _hand_over(self, step: Callable[[], None]) -> str | None:
        if not self._interruptions:
            return super()._hand_over(step)
        self._interruptions -= 1
        if self._begun is not None:
            super()._hand_over(step)
            assert self._begun.wait(timeout=30)
        raise KeyboardInterrupt


@pytest.mark.parametrize("told", [True, False], ids=["told", "not yet told"])
def test_ctrl_c_in_the_middle_of_a_hand_over_ends_what_was_begun(told: bool) -> None:
    begun = threading.Event()
    portal = _InterruptedWhileHandingOver(begun=begun if told else None)
    portal.open()
    ended = []

    async def watch() -> AsyncIterator[int]:
        begun.set()
        try:
            yield await asyncio.get_running_loop().create_future()
        finally:
            ended.append(True)

    source = watch()
    with pytest.raises(KeyboardInterrupt):
        next(portal.each(source))
    assert ended == [True] * told  # a generator that never began has nothing to end
    with pytest.raises(StopAsyncIteration):
        portal.wait(_after(source))
    portal.close()


async def _after(source: AsyncIterator[int]) -> int:
    return await anext(source)


INTERRUPTED = """
import asyncio, signal, threading
from milepost.client.portal import Portal

signal.signal(signal.SIGINT, signal.default_int_handler)
portal = Portal("test")
portal.open()
ended = []

async def watch():
    try:
        print("waiting", flush=True)
        while True:
            yield await asyncio.Event().wait()
    finally:
        ended.append(True)

try:
    for _ in portal.each(watch()):
        pass
except KeyboardInterrupt:
    print("interrupted", ended)
portal.close()
print("threads", threading.active_count())
"""


def test_ctrl_c_ends_a_watch_and_leaves_nothing_behind() -> None:
    with subprocess.Popen([sys.executable, "-c", INTERRUPTED], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        os.kill(process.pid, signal.SIGINT)
        out, _ = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, "interrupted [True]\nthreads 1\n")
