"""Who is refused before a handler sees the request, and how."""

import asyncio
import io
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest

from tests.integration.api.serving import Api

KEYED = [
    ("POST", "/v1/tasks"),
    ("POST", "/v1/tasks/batch"),
    ("GET", "/v1/tasks"),
    ("GET", "/v1/tasks/01a206cf-0715-75c4-8497-4ed4eee0dbe6"),
    ("GET", "/v1/tasks/01a206cf-0715-75c4-8497-4ed4eee0dbe6/result"),
    ("GET", "/v1/tasks/01a206cf-0715-75c4-8497-4ed4eee0dbe6/children"),
    ("POST", "/v1/tasks/01a206cf-0715-75c4-8497-4ed4eee0dbe6/cancel"),
    ("GET", "/v1/tasks/01a206cf-0715-75c4-8497-4ed4eee0dbe6/explain"),
    ("GET", "/v1/tasks/01a206cf-0715-75c4-8497-4ed4eee0dbe6/events"),
    ("GET", "/v1/queues"),
    ("POST", "/v1/queues/mail/pause"),
    ("POST", "/v1/queues/mail/resume"),
    ("PUT", "/v1/queues/mail/limits"),
    ("PUT", "/v1/queues/mail/retention"),
    ("GET", "/v1/limits"),
    ("PUT", "/v1/limits"),
    ("GET", "/v1/types"),
    ("GET", "/v1/workers"),
    ("GET", "/v1/quotas"),
    ("POST", "/v1/tasks/01a206cf-0715-75c4-8497-4ed4eee0dbe6/retry"),
    ("GET", "/v1/tasks/01a206cf-0715-75c4-8497-4ed4eee0dbe6/attempts"),
    ("GET", "/v1/dead-letters"),
    ("GET", "/v1/dead-letters/01a206cf-0715-75c4-8497-4ed4eee0dbe6"),
    ("GET", "/v1/dead-letters/groups/0123456789abcdef"),
    ("POST", "/v1/dead-letters/replay"),
    ("POST", "/v1/watch-tokens"),
    ("POST", "/v1/tickets"),
    ("POST", "/v1/keys"),
    ("GET", "/v1/keys"),
    ("GET", "/v1/tenants"),
    ("PUT", "/v1/tenants/acme"),
    ("DELETE", "/v1/keys/01a206cf-0715-75c4-8497-4ed4eee0dbe6"),
    ("POST", "/v1/webhooks"),
    ("GET", "/v1/webhooks"),
    ("GET", "/v1/webhooks/01a206cf-0715-75c4-8497-4ed4eee0dbe6"),
    ("PATCH", "/v1/webhooks/01a206cf-0715-75c4-8497-4ed4eee0dbe6"),
    ("DELETE", "/v1/webhooks/01a206cf-0715-75c4-8497-4ed4eee0dbe6"),
    ("POST", "/v1/webhooks/01a206cf-0715-75c4-8497-4ed4eee0dbe6/secret"),
    ("POST", "/v1/webhooks/01a206cf-0715-75c4-8497-4ed4eee0dbe6/ping"),
    ("GET", "/v1/webhooks/01a206cf-0715-75c4-8497-4ed4eee0dbe6/deliveries"),
    ("GET", "/v1/webhooks/01a206cf-0715-75c4-8497-4ed4eee0dbe6/deliveries/01a206cf-0715-75c4-8497-4ed4eee0dbe7"),
    ("POST", "/v1/webhooks/01a206cf-0715-75c4-8497-4ed4eee0dbe6/replay"),
]


@pytest.mark.parametrize(("method", "path"), KEYED)
async def test_a_key_is_needed(api: Api, method: str, path: str) -> None:
    for header in ("", "Bearer", "Bearer ", "Bearer wrong", "Bearer mp_test_key_4", "Basic bXA6eA==", "mp_test_key_42"):
        answer = await api.call(method, path, key=None, headers={"Authorization": header} if header else {})
        assert (answer.status, answer.kind) == (401, "unauthenticated")
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    answer = await api.call(method, f"{path}?token=mp_test_key_42&access_token=mp_test_key_42", key=None)
    assert answer.status == 401


async def test_every_route_but_the_open_ones_asks_for_a_key(api: Api) -> None:
    needing = {
        (method.upper(), path)
        for path, operations in api.document["paths"].items()
        for method, operation in operations.items()
        if operation.get("security")
    }
    known = {(method, _template(path)) for method, path in KEYED}
    assert needing == known


def _template(path: str) -> str:
    for given, name in (
        ("01a206cf-0715-75c4-8497-4ed4eee0dbe6", "{id}"),
        ("0123456789abcdef", "{fingerprint}"),
        ("queues/mail", "queues/{queue}"),
        ("acme", "{tenant}"),
        ("01a206cf-0715-75c4-8497-4ed4eee0dbe7", "{delivery}"),
    ):
        path = path.replace(given, name)
    return path


async def test_the_scheme_may_be_written_in_any_case(api: Api) -> None:
    answer = await api.get("/v1/types", key=None, headers={"Authorization": "bearer mp_test_key_42"})
    assert answer.status == 200


@pytest.mark.parametrize("path", ["/v1/dead-letters/replay", "/v1/tasks/batch"])
@pytest.mark.parametrize("origin", [{}, {"Origin": "https://app.example"}])
async def test_the_last_part_of_a_path_is_not_taken_for_an_id(api: Api, path: str, origin: dict[str, str]) -> None:
    answer = await api.get(path, headers=origin)
    assert (answer.status, answer.kind, answer.headers["Allow"]) == (405, "method-not-allowed", "POST")


async def test_unknown_paths_and_methods_are_problems_too(api: Api) -> None:
    for path in ("/", "/v1", "/v1/task", "/v1/tasks/", "/v2/tasks", "/v1/tasks/x/y/z"):
        answer = await api.get(path)
        assert (answer.status, answer.kind) == (404, "not-found")
    answer = await api.call("DELETE", "/v1/tasks")
    assert (answer.status, answer.kind, answer.headers["Allow"]) == (405, "method-not-allowed", "GET, POST")


@pytest.mark.parametrize("media", ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""])
async def test_a_body_must_be_declared_as_json(api: Api, media: str) -> None:
    answer = await api.post("/v1/tasks", data=b"{}", headers={"Content-Type": media})
    assert (answer.status, answer.kind) == (415, "unsupported-media-type")


async def test_a_charset_beside_the_media_type_is_fine(api: Api) -> None:
    body = b'{"type": "demo.free"}'
    answer = await api.post("/v1/tasks", data=body, headers={"Content-Type": "Application/JSON; charset=utf-8"})
    assert answer.status == 202


async def test_a_compressed_body_is_not_taken(api: Api) -> None:
    answer = await api.raw(b"\x1f\x8b", **{"Content-Encoding": "gzip"})
    assert (answer.status, answer.kind) == (415, "unsupported-media-type")


async def _chunks(count: int) -> AsyncIterator[bytes]:
    yield b'{"type": "demo.free", "payload": {"text": "'
    for _ in range(count):
        yield b"x" * 65536
    yield b'"}}'


async def test_a_body_beyond_the_limit_is_refused_whatever_its_headers_say(api: Api) -> None:
    assert (await api.raw(_chunks(15))).status == 202
    for body in (_chunks(17), io.BytesIO(b" " * (1024 * 1024 + 1))):
        answer = await api.raw(body)
        assert (answer.status, answer.kind) == (413, "too-large")


async def test_a_caller_that_asks_before_sending_is_told_at_once(api: Api) -> None:
    head = (
        b"POST /v1/tasks HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer mp_test_key_42\r\n"
        b"Content-Type: application/json\r\nContent-Length: 9999999\r\nExpect: 100-continue\r\n\r\n"
    )
    assert b" 413 " in await _talk(api, head)


async def test_headers_without_end_are_cut_off(api: Api) -> None:
    for header in (b"X: " + b"y" * 1000 + b"\r\n", b"X: y\r\n"):
        said = await _talk(api, b"GET /v1/livez HTTP/1.1\r\nHost: x\r\n" + header * 200 + b"\r\n")
        assert said.startswith(b"HTTP/1.1 400 ") or not said, said


async def _talk(api: Api, request: bytes) -> bytes:
    """Send bytes on a connection of its own and return what came back up to the first blank line or the end."""
    parts = urlsplit(api.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        writer.write(request)
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as cut:
        return cut.partial
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def test_secrets_and_input_are_not_echoed(api: Api) -> None:
    answer = await api.get("/v1/tasks?limit=hunter2", headers={"Authorization": "Bearer mp_test_key_42"})
    assert b"hunter2" not in answer.content
    assert b"mp_test_key" not in answer.content


async def test_only_listed_origins_may_call_from_a_page(api: Api) -> None:
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    async with api.session.options(
        f"{api.url}/v1/tasks", headers=asked | {"Origin": "https://app.example"}
    ) as response:
        assert response.headers["Access-Control-Allow-Origin"] == "https://app.example"
    for origin in ("null", "https://app.example.evil", "https://app.example:8443", "http://app.example"):
        async with api.session.options(f"{api.url}/v1/tasks", headers=asked | {"Origin": origin}) as response:
            assert "Access-Control-Allow-Origin" not in response.headers
    answer = await api.get("/v1/types", headers={"Origin": "https://app.example"})
    assert answer.headers["Access-Control-Allow-Origin"] == "https://app.example"
    assert "Location" in answer.headers["Access-Control-Expose-Headers"]
    assert "Access-Control-Allow-Origin" not in (await api.get("/v1/types", headers={"Origin": "null"})).headers
