"""The description of what is not request and answer: the WebSocket, server-sent events and Kafka, as AsyncAPI 3.0.

https://www.asyncapi.com/docs/reference/specification/v3.0.0
"""

from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from milepost_schemas import frames
from milepost_schemas.base import Contract
from milepost_schemas.cloudevents import TYPES
from milepost_schemas.completion import Completion
from milepost_schemas.control import CancelRequest
from milepost_schemas.dispatch import Dispatch
from milepost_schemas.event import Event

JsonObject = dict[str, Any]

_TEMPLATE: Final = "#/components/schemas/{model}"
_FROM_CLIENT: Final[dict[str, type[BaseModel]]] = {
    "hello": frames.Hello,
    "sub": frames.Sub,
    "unsub": frames.Unsub,
    "ping": frames.Ping,
    "pong": frames.Pong,
}
_TO_CLIENT: Final[dict[str, type[BaseModel]]] = {
    "welcome": frames.Welcome,
    "snap": frames.Snap,
    "ev": frames.Ev,
    "end": frames.End,
    "live": frames.Live,
    "changes": frames.Changes,
    "lag": frames.Lag,
    "err": frames.Err,
    "refresh": frames.Refresh,
    "bye": frames.Bye,
    "ping": frames.Ping,
    "pong": frames.Pong,
}
_OF_A_TASK: Final = ("snap", "ev", "end", "lag", "err", "refresh", "bye")
_OF_A_FEED: Final = ("live", "changes", "lag", "err", "refresh", "bye")
_RECORDS: Final[dict[str, type[Contract]]] = {
    "dispatch": Dispatch,
    "event": Event,
    "completion": Completion,
    "cancelRequest": CancelRequest,
}
_PREFIX: Final = {"description": "`MILEPOST_TOPIC_PREFIX`.", "default": "milepost"}
_KEY_OF_A_TASK: Final = "The 16 bytes of a task's id."


def describe() -> JsonObject:
    """Return the document."""
    return {
        "asyncapi": "3.0.0",
        "id": "urn:milepost:asyncapi:v1",
        "info": {
            "title": "Milepost: stream and topics",
            "version": "1",
            "description": "What Milepost sends and takes beside HTTP. In words: docs/protocol.md (stream, server-sent "
            "events), docs/completions.md (Kafka). Ignore frames, members, kinds and types you do not know.",
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "notifier": {
                "host": "127.0.0.1:8001",
                "protocol": "ws",
                "protocolVersion": "13",
                "description": "`MILEPOST_NOTIFIER_PORT`.",
            },
            "notifierHttp": {
                "host": "127.0.0.1:8002",
                "protocol": "http",
                "description": "`MILEPOST_NOTIFIER_HTTP_PORT`.",
            },
            "kafka": {"host": "127.0.0.1:9092", "protocol": "kafka", "description": "`MILEPOST_KAFKA_BOOTSTRAP`."},
        },
        "channels": {"stream": _stream(), **_server_sent(), **_topics()},
        "operations": _operations(),
        "components": {"messages": _messages(), "schemas": _schemas()},
    }


def _stream() -> JsonObject:
    return {
        "address": "/v1/stream",
        "title": "Any number of tasks, live",
        "description": "Subprotocol `milepost.v1` (required), no compression. Each text message is one JSON object; "
        "`t` says which. The first is `hello`, within 5 seconds.",
        "servers": [{"$ref": "#/servers/notifier"}],
        "messages": _refs({**_FROM_CLIENT, **_TO_CLIENT}),
        "bindings": {
            "ws": {
                "method": "GET",
                "query": {
                    "type": "object",
                    "properties": {"ticket": {"type": "string", "description": "Of `POST /v1/tickets`, good once."}},
                },
                "headers": {
                    "type": "object",
                    "required": ["Sec-WebSocket-Protocol"],
                    "properties": {"Sec-WebSocket-Protocol": {"const": frames.SUBPROTOCOL}},
                },
                "bindingVersion": "0.1.0",
            }
        },
        "x-close-codes": [
            {"code": close.code, "reason": close.text, "reconnect": close.value.reconnect} for close in frames.CloseCode
        ],
    }


def _server_sent() -> JsonObject:
    return {
        "taskEvents": {
            "address": "/v1/tasks/{id}/events",
            "title": "One task by server-sent events",
            "description": "`data` is a frame, `event` the kind of an `ev` or the `t` of any other, `id` the position, "
            "`EPOCH:SEQ`, for `Last-Event-ID`.",
            "servers": [{"$ref": "#/servers/notifierHttp"}],
            "parameters": {"id": {"description": "The task."}},
            "messages": _refs(_OF_A_TASK),
        },
        "feedEvents": {
            "address": "/v1/events",
            "title": "A feed of tasks by server-sent events",
            "servers": [{"$ref": "#/servers/notifierHttp"}],
            "messages": _refs(_OF_A_FEED),
        },
    }


def _topics() -> JsonObject:
    return {
        "completions": _topic(
            "completions",
            "Ends of tasks, for other services",
            "One record for each terminal state, at least once; copies have the same `ce_id`. Kept for 7 days.",
            "completion",
        ),
        "events": _topic(
            "events",
            "Everything that happens",
            "For notifiers. Key: the root task. Others read completions, or the stream.",
            "event",
        ),
        "work": _topic(
            "work.{queue}{lane}",
            "Hints that a task is ready",
            "From and for Milepost itself: losing, doubling or delaying one changes nothing but latency.",
            "dispatch",
            queue={"description": "The queue."},
            lane={"description": "By priority.", "enum": [".high", "", ".low"], "default": ""},
        ),
        "control": _topic(
            "control", "Requests to whoever runs a task", "From and for Milepost itself.", "cancelRequest"
        ),
        "deadLetters": _topic(
            "dead-letters", "Records nobody could read", "Copies of records, as they were, with reasons.", "deadLetter"
        ),
    }


def _topic(name: str, title: str, description: str, message: str, **parameters: JsonObject) -> JsonObject:
    return {
        "address": f"{{prefix}}.{name}",
        "title": title,
        "description": description,
        "servers": [{"$ref": "#/servers/kafka"}],
        "parameters": {"prefix": _PREFIX, **parameters},
        "messages": _refs([message]),
    }


def _operations() -> JsonObject:
    return {
        "takeFrames": _operation("receive", "stream", _FROM_CLIENT, "What a client sends."),
        "sendFrames": _operation("send", "stream", _TO_CLIENT, "What the notifier sends."),
        "sendTaskEvents": _operation("send", "taskEvents", _OF_A_TASK, "A task until its end."),
        "sendFeedEvents": _operation("send", "feedEvents", _OF_A_FEED, "Every change of many tasks."),
        "sendCompletions": _operation("send", "completions", ["completion"], "A task ended."),
        "sendEvents": _operation("send", "events", ["event"], "Something happened to a task."),
        "takeEvents": _operation("receive", "events", ["event"], "The notifiers tell of it."),
        "sendDispatches": _operation("send", "work", ["dispatch"], "A task was queued."),
        "takeDispatches": _operation("receive", "work", ["dispatch"], "A worker tries to claim it."),
        "sendCancelRequests": _operation("send", "control", ["cancelRequest"], "Somebody wants a task to stop."),
        "takeCancelRequests": _operation("receive", "control", ["cancelRequest"], "Its worker ends the handler."),
        "sendDeadLetters": _operation("send", "deadLetters", ["deadLetter"], "A record was put aside."),
    }


def _operation(action: str, channel: str, messages: Any, summary: str) -> JsonObject:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "summary": summary,
        "messages": [{"$ref": f"#/channels/{channel}/messages/{name}"} for name in messages],
    }


def _refs(names: Any) -> JsonObject:
    return {name: {"$ref": f"#/components/messages/{name}"} for name in names}


def _messages() -> JsonObject:
    return {
        **{name: _frame(name, model) for name, model in {**_FROM_CLIENT, **_TO_CLIENT}.items()},
        **{name: _record(name, model) for name, model in _RECORDS.items()},
        "deadLetter": {
            "name": "deadLetter",
            "title": "A record as it was read",
            "contentType": "application/octet-stream",
            "headers": {
                "type": "object",
                "description": "Those of the record, and these before them.",
                "properties": {
                    "x-origin-topic": {"type": "string"},
                    "x-origin-partition": {"type": "string", "pattern": "^[0-9]+$"},
                    "x-origin-offset": {"type": "string", "pattern": "^[0-9]+$"},
                    "x-origin-timestamp": {"type": "string", "description": "Milliseconds, as Kafka had it."},
                    "x-origin-size": {"type": "string", "description": "Bytes of the value; `none`: it had none."},
                    "x-error": {"type": "string", "description": "Why nobody could read it."},
                },
            },
            "payload": {"description": "Bytes; of a large value the beginning."},
        },
    }


def _frame(name: str, model: type[BaseModel]) -> JsonObject:
    return {"name": name, "summary": _summary(model), "payload": {"$ref": _TEMPLATE.format(model=model.__name__)}}


def _record(name: str, model: type[Contract]) -> JsonObject:
    return {
        "name": name,
        "summary": _summary(model),
        "contentType": "application/json",
        "headers": {
            "type": "object",
            "description": "CloudEvents 1.0 in Kafka's binary mode. Kafka's headers are bytes: these in UTF-8.",
            "required": ["ce_specversion", "ce_type", "ce_id", "ce_source", "ce_subject", "content-type"],
            "properties": {
                "ce_specversion": {"const": "1.0"},
                "ce_type": {"const": TYPES[model]},
                "ce_id": {"type": "string", "description": "The same for every copy of the same message."},
                "ce_source": {"type": "string", "description": "Who sent this copy; copies may differ in it."},
                "ce_subject": {"type": "string", "format": "uuid", "description": "The task."},
                "content-type": {"const": "application/json"},
                "traceparent": {"type": "string", "description": "W3C Trace Context of the submission, if it had one."},
            },
        },
        "payload": {"$ref": _TEMPLATE.format(model=model.__name__)},
        "bindings": {
            "kafka": {"key": {"type": "string", "description": _KEY_OF_A_TASK}, "bindingVersion": "0.5.0"},
        },
    }


def _summary(model: type[BaseModel]) -> str:
    return (model.__doc__ or "").partition("\n")[0]


def _schemas() -> JsonObject:
    asked: list[tuple[type[BaseModel], JsonSchemaMode]] = [
        *((model, "validation") for model in _FROM_CLIENT.values()),
        *((model, "serialization") for name, model in _TO_CLIENT.items() if name not in _FROM_CLIENT),
        *((model, "serialization") for model in _RECORDS.values()),
    ]
    _, schemas = models_json_schema(asked, ref_template=_TEMPLATE)
    found: JsonObject = schemas["$defs"]
    return dict(sorted(found.items()))
