"""What the proxy promises clients, tried through its published port. Standard library only."""

import http.client
import json
import time
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from tests.compose.engine import Failed

ANSWER_S = 70.0
WAIT_S = 12
"""Longer than a browser waits for anything it needs at once; a minute would prove no more."""
TOO_LARGE = 2 * 1024 * 1024
NO_HEADERS: Mapping[str, str] = {}
STREAM = {"Accept": "text/event-stream"}


class Answer(NamedTuple):
    """What came back; `first` is what could be read at once of a stream."""

    status: int
    kind: str
    first: bytes


class Proxy:
    """One address, and the key to what is behind it."""

    def __init__(self, url: str, key: str) -> None:
        self._address = urlsplit(url)
        self.submitted: list[str] = []
        """Ids, for the auditor."""
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}

    def ask(self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] = NO_HEADERS) -> Answer:
        """Ask; return the answer, of a stream its first line."""
        line = http.client.HTTPConnection(self._address.hostname or "", self._address.port, timeout=ANSWER_S)
        try:
            line.request(method, path, body, {**self._headers, **headers})
            answer = line.getresponse()
            kind = answer.headers.get_content_type()
            return Answer(answer.status, kind, answer.readline() if kind == STREAM["Accept"] else answer.read())
        except OSError as error:
            raise Failed(f"{method} {path} through the proxy: {error!r}") from error
        finally:
            line.close()

    def submit(self, to: int, headers: Mapping[str, str] = NO_HEADERS) -> dict[str, Any]:
        """Submit a task that counts so far, ten numbers a second; return it as the answer shows it."""
        body = json.dumps({"type": "demo.count", "payload": {"to": to, "delay": 0.1}}).encode()
        task: dict[str, Any] = json.loads(self.ask("POST", "/v1/tasks", body, headers).first)
        self.submitted.append(task["id"])
        return task


def expect(what: str, seen: object, wanted: object) -> None:
    """Raise Failed unless it is what was wanted."""
    if seen != wanted:
        raise Failed(f"{what}: {seen}, where {wanted} was expected")


def keeps(proxy: Proxy) -> list[str]:
    """Try each promise; return what was found true. Raises Failed."""
    for path in ("/metrics", "/livez", "/readyz", "/", "/v2/tasks"):
        expect(path, proxy.ask("GET", path).status, 404)
    problem = proxy.ask("POST", "/v1/tasks", b"[" * TOO_LARGE)
    expect("a body of 2 MiB", (problem.status, problem.kind), (413, "application/problem+json"))
    path = f"/v1/tasks/{proxy.submit(10 * WAIT_S)['id']}/events"
    expect("events as a list", proxy.ask("GET", path).kind, "application/json")
    began = time.monotonic()
    stream = proxy.ask("GET", path, headers=STREAM)
    expect("events as a stream", (stream.status, stream.kind), (200, STREAM["Accept"]))
    if time.monotonic() - began > WAIT_S / 2:
        raise Failed("the first event of a stream was held back")
    waited = proxy.submit(10 * WAIT_S, {"Prefer": "wait=60"})
    expect("a task that was waited for", waited["state"], "succeeded")
    return [
        "nothing but /v1/ is let through",
        "a body of 2 MiB is refused by the api, in its words",
        "a task's events are a list or a stream, as asked, and come at once",
        f"an answer that takes {WAIT_S} s arrives",
    ]
