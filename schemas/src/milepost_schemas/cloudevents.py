"""CloudEvents 1.0 in Kafka's binary mode: attributes as `ce_*` headers, the data as the record's value.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md
"""

from collections.abc import Iterable, Sequence
from typing import Final, TypeVar

from pydantic import ValidationError

from milepost_schemas.base import Contract
from milepost_schemas.completion import Completion
from milepost_schemas.control import CancelRequest
from milepost_schemas.dispatch import Dispatch
from milepost_schemas.event import Event

Header = tuple[str, bytes]
M = TypeVar("M", bound=Contract)

TYPES: Final[dict[type[Contract], str]] = {
    Dispatch: "dev.milepost.dispatch.v1",
    Event: "dev.milepost.event.v1",
    Completion: "dev.milepost.completion.v1",
    CancelRequest: "dev.milepost.cancel-request.v1",
}
_CONTENT_TYPE: Final = ("content-type", b"application/json")
_SPEC_VERSION: Final = ("ce_specversion", b"1.0")
_CE_TYPES: Final = {model: ("ce_type", name.encode()) for model, name in TYPES.items()}


class UndecodableError(ValueError):
    """A record that is not what its topic carries. The message says why; the record belongs on dead-letters."""


def headers_of(
    model: type[Contract], *, identity: str, source: str, subject: str, traceparent: str | None
) -> list[Header]:
    """Return the headers of a record that carries a `model`.

    `identity` is the same for every copy of the same message; `source` is a URI reference naming the writer;
    `subject` is the task.
    """
    headers: list[Header] = [
        _SPEC_VERSION,
        _CE_TYPES[model],
        ("ce_id", identity.encode()),
        ("ce_source", source.encode()),
        ("ce_subject", subject.encode()),
        _CONTENT_TYPE,
    ]
    if traceparent is not None:
        headers.append(("traceparent", traceparent.encode()))
    return headers


def header(headers: Iterable[Header], name: str) -> str | None:
    """Return the first header of that name as text; None when it is missing or not ASCII."""
    for key, value in headers:
        if key == name:
            try:
                return value.decode("ascii")
            except UnicodeDecodeError:
                return None
    return None


def decode(model: type[M], value: bytes | None, headers: Sequence[Header]) -> M:
    """Return the message in a record.

    Raises UndecodableError for another type, a missing value, JSON that does not parse or does not fit.
    """
    found = header(headers, "ce_type")
    if found != TYPES[model]:
        raise UndecodableError(f"ce_type is {found!r}, not {TYPES[model]!r}")
    if value is None:
        raise UndecodableError("the record has no value")
    try:
        return model.model_validate_json(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the value"
        raise UndecodableError(f"{where}: {first['msg']}") from None
