"""The channels' connection to Redis."""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis

from milepost.errors import Unavailable
from milepost.live import Channels, channels, connection
from milepost.live.channels import Message
from milepost.runtime.lifecycle import background
from milepost.runtime.settings import Settings
from tests.conftest import eventually
from tests.proxy import proxy_to


async def _nothing() -> None:
    pass


async def test_they_end_at_once_whatever_they_are_just_doing(redis: Redis) -> None:
    loop = asyncio.get_running_loop()
    for turns in range(60):
        channels = Channels(redis, lambda _: None, _nothing)
        began = loop.time()
        async with background(("channels", channels.run)):
            await channels.watch(["one"], timeout=5)
            watching = asyncio.create_task(channels.watch(["two"], timeout=5))
            for _ in range(turns % 12):
                await asyncio.sleep(0)
            watching.cancel()
        assert loop.time() - began < 4, f"stopped {turns % 12} turns after it was asked for something"
        await asyncio.gather(watching, return_exceptions=True)


async def test_an_answer_that_is_faster_than_the_question_is_an_answer(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost, asked = asyncio.Event(), asyncio.Semaphore(0)
    ask = channels._send

    async def came_back() -> None:
        lost.set()

    async def ask_and_be_answered(connection: Any, *words: bytes) -> None:
        await ask(connection, *words)
        while not heard._heard:
            await asyncio.sleep(0.001)
        asked.release()

    async def five_questions() -> None:
        for _ in range(5):
            await asked.acquire()

    monkeypatch.setattr(channels, "_send", ask_and_be_answered)
    monkeypatch.setattr(channels, "QUIET_S", 0.2)
    heard = Channels(redis, lambda _: None, came_back)
    async with background(("channels", heard.run)):
        waits = [asyncio.create_task(five_questions()), asyncio.create_task(lost.wait())]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED, timeout=20)
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
    assert not lost.is_set(), "a connection that answered was given up as silent"
    assert not waits[0].cancelled(), "it was not asked five times"


async def test_a_server_that_is_silent_for_long_is_found_again(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channels, "QUIET_S", 0.4)
    for module in (channels, connection):
        monkeypatch.setattr(module, "ANSWER_S", 0.3)
    url = urlsplit(settings.redis_url.get_secret_value())
    async with proxy_to(url.port or 0) as proxy:
        behind = url._replace(netloc=url.netloc.replace(f":{url.port}", f":{proxy.port}")).geturl()
        redis = connection.connect(settings.model_copy(update={"redis_url": SecretStr(behind)}))
        heard = Channels(redis, lambda _: None, _nothing)

        async def is_back() -> bool:
            return heard.connected

        async def has_tried(times: int) -> bool:
            return proxy.accepted >= times

        async with background(("channels", heard.run)):
            await heard.watch(["one"], timeout=5)
            proxy.stall()
            await eventually(
                partial(has_tried, proxy.accepted + 3), "the silence to be noticed, and others to be tried"
            )
            proxy.flow()
            await eventually(is_back, "the channel to be back")
        await redis.aclose()


class Unconfirmed(Channels):
    """Tells the server what is wanted only while `telling` is set."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.telling = asyncio.Event()
        self.telling.set()
        self.in_vain = asyncio.Event()
        """Somebody waited for channels, and gave up."""

    async def _tell(self, connection: Any) -> None:
        await self.telling.wait()
        await super()._tell(connection)

    async def watch(self, channels: Sequence[str], timeout: float) -> None:
        """Attach."""
        try:
            await super().watch(channels, timeout)
        except Unavailable:
            self.in_vain.set()
            raise


async def test_what_was_missed_is_made_up_for_only_when_everything_is_heard_again(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[bytes] = []
    back: list[bool] = []
    caught_up, told = asyncio.Event(), asyncio.Event()

    def deliver(messages: Sequence[Message]) -> None:
        heard.extend(message for _, message, _ in messages)
        told.set()

    async def reconnected() -> None:
        back.append(slow.telling.is_set())
        caught_up.set()

    slow = Unconfirmed(redis, deliver, reconnected)
    async with background(("channels", slow.run)), asyncio.timeout(30):
        await slow.watch(["one"], timeout=5)
        monkeypatch.setattr(channels, "ANSWER_S", 0.1)
        slow.telling.clear()
        await redis.client_kill_filter(_type="pubsub")
        await slow.in_vain.wait()
        await redis.publish("one", "missed")
        slow.telling.set()
        await caught_up.wait()
        await redis.publish("one", "heard")
        await told.wait()
    assert (back, heard) == ([True], [b"heard"])
