"""The relay one writes first, to compare with: FastAPI and redis.asyncio, a queue and a task for each client.

Like most such relays it has no positions: it cannot say what was missed. Events are JSON, published on `task:ID` and
kept under the same name. Run it with `uvicorn benchmarks.relay.fastapi_relay:app`; MILEPOST_REDIS_URL says where.
"""

import asyncio
import os
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from redis.asyncio import BlockingConnectionPool, Redis

pool = BlockingConnectionPool.from_url(os.environ["MILEPOST_REDIS_URL"], decode_responses=True, timeout=None)
redis = Redis.from_pool(pool)
pubsub = redis.pubsub()
watchers: dict[str, set["asyncio.Queue[str]"]] = defaultdict(set)


async def fan_out() -> None:
    """Hand each message to the queues of those who watch its task; who is slow loses the oldest."""
    await pubsub.subscribe("hello")  # the library wants one channel before it listens
    async for message in pubsub.listen():
        if message["type"] == "message":
            text = message["data"]
            for queue in watchers.get(message["channel"], ()):
                if queue.full():
                    queue.get_nowait()
                queue.put_nowait(text)


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    """Keep the fan-out running."""
    task = asyncio.create_task(fan_out())
    yield
    task.cancel()


app = FastAPI(lifespan=lifespan)


@app.websocket("/ws/{task}")
async def watch(socket: WebSocket, task: str) -> None:
    """Send the task's last state, then every event, until the client goes away."""
    await socket.accept()
    channel = f"task:{task}"
    queue: asyncio.Queue[str] = asyncio.Queue(100)
    if not watchers[channel]:
        await pubsub.subscribe(channel)
    watchers[channel].add(queue)
    sending = asyncio.create_task(send(socket, channel, queue))
    with suppress(WebSocketDisconnect):
        while True:
            await socket.receive_text()
    sending.cancel()
    watchers[channel].discard(queue)
    if not watchers[channel]:
        del watchers[channel]
        await pubsub.unsubscribe(channel)


async def send(socket: WebSocket, channel: str, queue: "asyncio.Queue[str]") -> None:
    """Send what is there and what comes."""
    if (state := await redis.get(channel)) is not None:
        await socket.send_text(str(state))
    while True:
        await socket.send_text(await queue.get())
