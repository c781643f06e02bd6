"""The API, really served, and a client that holds every answer against the published contracts."""

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import aiohttp
import orjson
from jsonschema import Draft202012Validator
from multidict import CIMultiDictProxy

from milepost.runtime.settings import Settings
from milepost.store import Finish, Store
from milepost.store.records import Held
from milepost_api.app import create_app
from milepost_api.server import listen, make_server
from milepost_schemas import TaskState, TypeInfo

PUBLISHED = Path("schemas/published")
KEY = "mp_test_key_42"
NOBODY = "127.0.0.1:1"
"""An address where no Kafka will ever listen."""

COUNT = TypeInfo(
    type="demo.count",
    queue="counting",
    max_attempts=4,
    timeout=60,
    payload_schema={
        "type": "object",
        "properties": {"to": {"type": "integer", "minimum": 0}, "note": {"type": "string", "maxLength": 10}},
        "required": ["to"],
        "additionalProperties": False,
    },
)
FREE = TypeInfo(type="demo.free", queue="default", max_attempts=1, payload_schema={"type": "object"})


def published(name: str) -> Draft202012Validator:
    """Load a committed schema."""
    return Draft202012Validator(json.loads((PUBLISHED / f"{name}.v1.json").read_text()))


PROBLEM = published("problem")
TASK = published("task")


class Answer(NamedTuple):
    status: int
    headers: CIMultiDictProxy[str]
    content: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.content)

    @property
    def kind(self) -> str:
        """The last part of the problem's type."""
        return str(self.json["type"].rpartition("/")[2])


Accepts = Callable[[Callable[[], Awaitable[Answer]]], Awaitable[None]]


class Api:
    """A client of one served API."""

    def __init__(self, url: str, session: aiohttp.ClientSession, document: dict[str, Any]) -> None:
        self.url = url
        self.key = KEY
        self.session = session
        self.document = document

    async def call(self, method: str, path: str, *, key: str | None = "", **options: Any) -> Answer:
        """Make a request; `key` is the API's own unless another (or None) is given."""
        headers = dict(options.pop("headers", {}))
        key = self.key if key == "" else key
        if key is not None:
            headers.setdefault("Authorization", f"Bearer {key}")
        async with self.session.request(method, self.url + path, headers=headers, **options) as response:
            answer = Answer(response.status, response.headers, await response.read())
        self.check(method, path, answer)
        return answer

    async def get(self, path: str, **options: Any) -> Answer:
        return await self.call("GET", path, **options)

    async def post(self, path: str, **options: Any) -> Answer:
        return await self.call("POST", path, **options)

    async def submit(self, type_: str = "demo.count", payload: Any = None, **options: Any) -> Answer:
        headers = options.pop("headers", {})
        body = {"type": type_, "payload": {"to": 3} if payload is None else payload, **options}
        return await self.post("/v1/tasks", json=body, headers=headers)

    async def raw(self, body: Any, path: str = "/v1/tasks", **headers: str) -> Answer:
        return await self.post(path, data=body, headers={"Content-Type": "application/json", **headers})

    def check(self, method: str, path: str, answer: Answer) -> None:
        """Fail unless the answer is one the OpenAPI document and the published schemas describe."""
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        if answer.headers.get("Content-Type") == "application/problem+json":
            PROBLEM.validate(answer.json)
            assert answer.json["status"] == answer.status
            assert re.fullmatch("[0-9a-f]{32}", answer.json["trace_id"])
        operation = self._operation(method, path.partition("?")[0])
        if operation is None:
            return
        described = operation["responses"][str(answer.status)]
        if not answer.content:
            assert "content" not in described
            return
        schema = described["content"][answer.headers["Content-Type"]]["schema"]
        Draft202012Validator({**schema, "components": self.document["components"]}).validate(answer.json)
        if schema.get("$ref", "").endswith("/Task"):
            TASK.validate(answer.json)

    def _operation(self, method: str, path: str) -> Any:
        exact = self.document["paths"].get(path)
        if exact is not None:
            return exact.get(method.lower())
        for template, operations in self.document["paths"].items():
            if "{" in template and re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path):
                return operations.get(method.lower())
        return None


@contextlib.asynccontextmanager
async def served(settings: Settings) -> AsyncIterator[Api]:
    """Serve the API on a free port of this machine."""
    settings = settings.model_copy(update={"api_port": 0})
    ready = asyncio.Event()
    with listen(settings) as listener:
        server = make_server(create_app(settings), ready.set)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            started = asyncio.create_task(ready.wait())
            await asyncio.wait({started, serving}, return_when=asyncio.FIRST_COMPLETED)
            assert ready.is_set(), "the server did not start"
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            async with aiohttp.ClientSession() as session:
                async with session.get(f"{url}/v1/openapi.json") as response:
                    document = await response.json()
                yield Api(url, session, document)
        finally:
            server.should_exit = True
            await serving


def without_token(task: dict[str, Any]) -> dict[str, Any]:
    """Return an accepted task as it is shown ever after."""
    return {name: value for name, value in task.items() if name != "watch_token"}


async def run(store: Store, task: str, state: TaskState | None = None, *, epoch: int = 0, **finish: Any) -> None:
    """Claim a task that was queued under this epoch as a worker would, and finish it unless `state` is None."""
    held = Held(UUID(task), epoch)
    claimed = await store.claim(UUID(int=7), 60.0, [held])
    assert len(claimed) == 1
    if state is not None:
        moved = await store.finish([Finish(claimed[0].held, 1, state, **finish)])
        assert moved[0] is not None
