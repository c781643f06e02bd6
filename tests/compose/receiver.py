"""Receives webhooks inside the project's networks: only what is signed is taken, and what was told of whom is kept."""

import hmac
import socket
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import orjson
from aiohttp import web

End = tuple[UUID, int]
"""A task and the epoch in which it ended."""


class Receiver:
    """Answers 204 to what is genuine, 401 to the rest; ends by how often each was told."""

    def __init__(self) -> None:
        self.secret = ""
        """Of the webhook; nothing is genuine before it is known."""
        self.told: Counter[End] = Counter()
        self.refused = 0
        self.url = ""

    async def take(self, request: web.Request) -> web.Response:
        """Take one message."""
        body = await request.read()
        if not self._genuine(request, body):
            self.refused += 1
            return web.Response(status=401)
        data = orjson.loads(body)["data"]
        self.told[UUID(data["task"]), data["epoch"]] += 1
        return web.Response(status=204)

    def _genuine(self, request: web.Request, body: bytes) -> bool:
        said = f"{request.headers.get('webhook-id')}.{request.headers.get('webhook-timestamp')}."
        mac = hmac.digest(b64decode(self.secret.removeprefix("whsec_")), said.encode() + body, "sha256")
        wanted = "v1," + b64encode(mac).decode()
        given = request.headers.get("webhook-signature", "").split(" ")
        return any(hmac.compare_digest(wanted.encode(), each.encode()) for each in given)


@asynccontextmanager
async def receiving(beside: str) -> AsyncIterator[Receiver]:
    """Run one, in the network in which `beside` is reached."""
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/", receiver.take)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    try:
        address = _address(beside)
        await web.TCPSite(runner, address, 0).start()
        receiver.url = f"http://{address}:{runner.addresses[0][1]}/"
        yield receiver
    finally:
        await runner.cleanup()


def _address(beside: str) -> str:
    """Return our address in that network. Nothing is sent: a datagram's socket is only told where it would go."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
        line.connect((beside, 9))
        address: str = line.getsockname()[0]
    return address
