"""What counts as breaking a contract."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from milepost_schemas.compatibility.__main__ import breaks
from milepost_schemas.compatibility.documents import asyncapi_breaks, openapi_breaks, schema_breaks
from milepost_schemas.compatibility.reading import OPEN

SCHEMAS = Path(__file__).parents[3] / "schemas"
PUBLISHED = SCHEMAS / "published"
OPENAPI = json.loads((PUBLISHED / "openapi.json").read_text())
ASYNCAPI = yaml.safe_load((PUBLISHED / "asyncapi.yaml").read_text())

TEXT = {"type": "string"}
NUMBER = {"type": "number"}
MAYBE = {"anyOf": [TEXT, {"type": "null"}]}


def members(required: list[str] | None = None, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required or []}


def test_what_was_released_is_kept() -> None:
    assert list(breaks(SCHEMAS / "released", PUBLISHED)) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (members(a=TEXT), members(a=TEXT, b=TEXT)),
        (members(a=TEXT), members(["a"], a=TEXT)),
        (members(a=MAYBE), members(a=TEXT)),
        (members(a=NUMBER), members(a={"type": "integer"})),
        (members(a=TEXT), members(a={"type": "string", "enum": ["x"]})),
        (members(a={"type": "array", "items": MAYBE}), members(a={"type": "array", "items": TEXT})),
        (members(a={}), members(a=NUMBER)),
        (
            {"$ref": "#/$defs/EventKind", "$defs": {"EventKind": {"type": "string", "enum": ["started"]}}},
            {"$ref": "#/$defs/EventKind", "$defs": {"EventKind": {"type": "string", "enum": ["started", "new"]}}},
        ),
    ],
)
def test_what_we_give_may_say_more_and_leave_less_open(old: Any, new: Any) -> None:
    assert list(schema_breaks(old, old, "given", "asked")) == []
    assert list(schema_breaks(old, new, "given")) == []


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        (members(a=TEXT), members(), "/a: is gone"),
        (members(["a"], a=TEXT), members(a=TEXT), "/a: may be missing now"),
        (members(a=TEXT), members(a=MAYBE), "/a: may be null, was string"),
        (members(a={"type": "integer"}), members(a=NUMBER), "/a: may be number, was integer"),
        (members(a={"enum": ["x"]}), members(a={"enum": ["x", "y"]}), "/a: y only one side knows"),
        (members(a={"const": "x"}), members(a=TEXT), "/a: may be anything, was one of x"),
        (members(a={"type": "array", "items": TEXT}), members(a={"type": "array", "items": {}}), "/a/[]: may be "),
        (
            members(a={"type": "object", "additionalProperties": TEXT}),
            members(a={"type": "object", "additionalProperties": NUMBER}),
            "/a/*: may be integer, number, was string",
        ),
        (
            members(a={"type": "string", "format": "uuid"}),
            members(a=TEXT),
            "/a: format is 'uuid' for who reads, None for who writes",
        ),
        (
            members(a={"type": "array", "prefixItems": [NUMBER, NUMBER]}),
            members(a={"type": "array", "prefixItems": [NUMBER, TEXT]}),
            "/a/1: may be string, was integer, number",
        ),
    ],
)
def test_what_we_give_must_not_surprise_who_reads_it(old: Any, new: Any, line: str) -> None:
    found = list(schema_breaks(old, new, "given"))
    assert len(found) == 1
    assert found[0].startswith(line)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (members(a=TEXT), members(a=TEXT, b=TEXT)),
        (members(["a"], a=TEXT), members(a=MAYBE)),
        (members(a={"type": "string", "maxLength": 5}), members(a={"type": "string", "maxLength": 6})),
        (members(a={"enum": ["x"]}), members(a={"enum": ["x", "y"]})),
    ],
)
def test_what_we_ask_for_may_take_more(old: Any, new: Any) -> None:
    assert list(schema_breaks(old, new, "asked")) == []


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        (members(a=TEXT), members(["a"], a=TEXT), "/a: is required now"),
        (members(a=TEXT), members(["b"], a=TEXT, b=TEXT), "/b: is required now"),
        (members(a=TEXT), members(), "/a: is gone"),
        (members(a=MAYBE), members(a=TEXT), "/a: may not be null any more"),
        (members(a={"enum": ["x", "y"]}), members(a={"enum": ["x"]}), "/a: y only one side knows"),
        (
            members(a={"type": "string", "maxLength": 6}),
            members(a={"type": "string", "maxLength": 5}),
            "/a: maxLength is 5 for who reads, 6 for who writes",
        ),
        (members(a=NUMBER), members(a={"type": "number", "minimum": 0}), "/a: minimum is 0 for who reads, not given"),
        (members(a=TEXT), members(a={"type": "string", "pattern": "^a"}), "/a: pattern is '^a' for who reads"),
    ],
)
def test_what_we_ask_for_must_take_what_it_took(old: Any, new: Any, line: str) -> None:
    found = list(schema_breaks(old, new, "asked"))
    assert len(found) == 1
    assert found[0].startswith(line)


def test_a_schema_may_contain_itself() -> None:
    tree = {"$ref": "#/$defs/Tree", "$defs": {"Tree": members(children={"type": "array"})}}
    tree["$defs"]["Tree"]["properties"]["children"]["items"] = {"$ref": "#/$defs/Tree"}  # type: ignore[index]
    assert list(schema_breaks(tree, copy.deepcopy(tree), "given", "asked")) == []


def _without(*path: str) -> Callable[[Any], None]:
    def change(document: Any) -> None:
        for part in path[:-1]:
            document = document[part]
        del document[path[-1]]

    return change


def _with(value: Any, *path: str) -> Callable[[Any], None]:
    def change(document: Any) -> None:
        for part in path[:-1]:
            document = document[part]
        document[path[-1]] = value

    return change


_SUBMIT = ("paths", "/v1/tasks", "post")
_TASK = ("components", "schemas", "Task", "properties")


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (_without("paths", "/v1/types", "get"), "GET /v1/types: is gone"),
        (_without("paths", "/v1/types"), "GET /v1/types: is gone"),
        (_with("other", *_SUBMIT, "operationId"), "POST /v1/tasks: operationId submit_task is now other"),
        (_with([{"key": ["admin"]}], *_SUBMIT, "security"), "POST /v1/tasks: security [{'key': ['submit']}] is now"),
        (_without(*_SUBMIT, "requestBody"), "POST /v1/tasks: takes no body any more"),
        (_with({}, *_SUBMIT, "responses", "204"), "POST /v1/tasks 204: is new"),
        (_without(*_SUBMIT, "responses", "202", "headers", "Location"), "POST /v1/tasks 202: header Location is gone"),
        (_with([], "paths", "/v1/tasks/{id}", "get", "parameters"), "GET /v1/tasks/{id} ?If-None-Match: is gone"),
        (_without("webhooks", "ping"), "webhook ping: is gone"),
        (_with([], "webhooks", "ping", "post", "parameters"), "webhook ping: header webhook-id is gone"),
        (
            _without("components", "schemas", "TaskWebhook", "properties", "data"),
            "webhook taskEnded/data: is gone",
        ),
        (_without(*_TASK, "labels"), "GET /v1/tasks/{id} 200/labels: is gone"),
        (
            _with(1, "components", "schemas", "SubmitTask", "properties", "labels", "maxProperties"),
            "POST /v1/tasks request/labels: maxProperties is 1",
        ),
    ],
)
def test_callers_of_the_api_must_not_stumble(change: Callable[[Any], None], line: str) -> None:
    new = copy.deepcopy(OPENAPI)
    change(new)
    assert any(found.startswith(line) for found in openapi_breaks(OPENAPI, new)), list(openapi_breaks(OPENAPI, new))


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (_without("channels", "events"), "channel events: is gone"),
        (_with("/v2", "channels", "stream", "address"), "channel stream: /v1/stream is now /v2"),
        (_without("operations", "sendCompletions"), "operation sendCompletions: is gone"),
        (_with([], "operations", "sendCompletions", "messages"), "operation sendCompletions: message completion is"),
        (_without("components", "schemas", "Completion", "properties", "labels"), "completion payload/labels: is gone"),
        (_without("components", "schemas", "Sub", "properties", "tail"), "sub payload/tail: is gone"),
        (
            _with({"const": "2.0"}, *("components", "messages", "event", "headers", "properties", "ce_specversion")),
            "event headers/ce_specversion: 2.0 only one side knows",
        ),
    ],
)
def test_clients_of_the_stream_and_readers_of_topics_must_not_stumble(change: Callable[[Any], None], line: str) -> None:
    new = copy.deepcopy(ASYNCAPI)
    change(new)
    assert any(found.startswith(line) for found in asyncapi_breaks(ASYNCAPI, new)), list(asyncapi_breaks(ASYNCAPI, new))


def test_a_file_that_was_published_stays(tmp_path: Path) -> None:
    assert "task.v1.json: is gone" in list(breaks(PUBLISHED, tmp_path))


def test_what_may_grow_is_there_to_grow() -> None:
    named = OPENAPI["components"]["schemas"].keys() | ASYNCAPI["components"]["schemas"].keys()
    assert named >= OPEN
