"""What a newer document of each kind breaks of an older one. Decisions only: documents in, findings out."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from milepost_schemas.compatibility.reading import Side, findings, followed

Document = Mapping[str, Any]
_METHODS: Final = ("get", "put", "post", "delete", "patch", "head", "options")
_ASKED: Final = "asked"
_GIVEN: Final = "given"


def schema_breaks(old: Document, new: Document, *directions: str) -> Iterator[str]:
    """Yield what breaks: of what we are "asked", of what is "given" by us, or of both."""
    for direction in directions:
        yield from _side(direction, Side(old, old), Side(new, new), "")


def _side(direction: str, old: Side, new: Side, where: str) -> Iterator[str]:
    if direction == _ASKED:
        yield from findings(new, old, old="writer", where=where)
    else:
        yield from findings(old, new, old="reader", where=where)


def openapi_breaks(old: Document, new: Document) -> Iterator[str]:
    """Yield what callers of the old API would stumble over."""
    for path, before in old["paths"].items():
        after = new["paths"].get(path, {})
        for method in _METHODS:
            if method not in before:
                continue
            where = f"{method.upper()} {path}"
            if method not in after:
                yield f"{where}: is gone"
            else:
                yield from _operation_breaks((old, before[method]), (new, after[method]), where)
    yield from _webhook_breaks(old, new)


def _webhook_breaks(old: Document, new: Document) -> Iterator[str]:
    """Yield what receivers of the old webhooks would stumble over: there the request is what we give."""
    for name, before in old.get("webhooks", {}).items():
        after = new.get("webhooks", {}).get(name)
        if after is None:
            yield f"webhook {name}: is gone"
            continue
        sides = (old, before["post"]["requestBody"]), (new, after["post"]["requestBody"])
        yield from _content_breaks(_GIVEN, *sides, f"webhook {name}")
        gone = _parameters(before["post"]).keys() - _parameters(after["post"]).keys()
        yield from (f"webhook {name}: header {header} is gone" for _, header in sorted(gone))


def _operation_breaks(old: tuple[Document, Document], new: tuple[Document, Document], where: str) -> Iterator[str]:
    (old_document, before), (new_document, after) = old, new
    if before.get("operationId") != after.get("operationId"):
        yield f"{where}: operationId {before.get('operationId')} is now {after.get('operationId')}"
    if before.get("security", []) != after.get("security", []):
        yield f"{where}: security {before.get('security')} is now {after.get('security')}"
    yield from _parameter_breaks(old, new, where)
    body, taken = before.get("requestBody"), after.get("requestBody")
    if body is None and taken is not None and taken.get("required"):
        yield f"{where}: needs a body now"
    elif body is not None and taken is None:
        yield f"{where}: takes no body any more"
    elif body is not None and taken is not None:
        if taken.get("required") and not body.get("required"):
            yield f"{where}: needs a body now"
        yield from _content_breaks(_ASKED, (old_document, body), (new_document, taken), f"{where} request")
    yield from _answer_breaks(old, new, where)


def _parameter_breaks(old: tuple[Document, Document], new: tuple[Document, Document], where: str) -> Iterator[str]:
    (old_document, before), (new_document, after) = old, new
    had, has = _parameters(before), _parameters(after)
    for key, parameter in had.items():
        if key not in has:
            yield f"{where} ?{key[1]}: is gone"
            continue
        if has[key].get("required") and not parameter.get("required"):
            yield f"{where} ?{key[1]}: is required now"
        sides = Side(old_document, parameter["schema"]), Side(new_document, has[key]["schema"])
        yield from _side(_ASKED, *sides, f"{where} ?{key[1]}")
    yield from (f"{where} ?{key[1]}: is required now" for key in has.keys() - had.keys() if has[key].get("required"))


def _parameters(operation: Document) -> dict[tuple[str, str], Document]:
    return {(each["in"], each["name"]): each for each in operation.get("parameters", ())}


def _answer_breaks(old: tuple[Document, Document], new: tuple[Document, Document], where: str) -> Iterator[str]:
    (old_document, before), (new_document, after) = old, new
    had, has = before["responses"], after["responses"]
    # Another refusal is one of a class that every client knows, and 304 comes to those who ask for it. Another success
    # surprises.
    added = sorted(has.keys() - had.keys() - {"304"})
    yield from (f"{where} {status}: is new" for status in added if status < "400")
    for status in sorted(had.keys() & has.keys()):
        headers = had[status].get("headers", {}).keys() - has[status].get("headers", {}).keys()
        yield from (f"{where} {status}: header {name} is gone" for name in sorted(headers))
        sides = (old_document, had[status]), (new_document, has[status])
        yield from _content_breaks(_GIVEN, *sides, f"{where} {status}")


def _content_breaks(
    direction: str, old: tuple[Document, Document], new: tuple[Document, Document], where: str
) -> Iterator[str]:
    (old_document, before), (new_document, after) = old, new
    had, has = before.get("content", {}), after.get("content", {})
    for media in had:
        if media not in has:
            yield f"{where}: {media} is gone"
        else:
            sides = Side(old_document, had[media].get("schema", {})), Side(new_document, has[media].get("schema", {}))
            yield from _side(direction, *sides, where)


def asyncapi_breaks(old: Document, new: Document) -> Iterator[str]:
    """Yield what clients of the old stream, and readers of the old topics, would stumble over."""
    for name, channel in old["channels"].items():
        now = new["channels"].get(name)
        if now is None:
            yield f"channel {name}: is gone"
        elif now["address"] != channel["address"]:
            yield f"channel {name}: {channel['address']} is now {now['address']}"
    for name, operation in old["operations"].items():
        now = new["operations"].get(name)
        if now is None or now["action"] != operation["action"] or now["channel"] != operation["channel"]:
            yield f"operation {name}: is gone, or another"
            continue
        direction = _ASKED if operation["action"] == "receive" else _GIVEN
        there = {ref["$ref"] for ref in now["messages"]}
        for ref in (each["$ref"] for each in operation["messages"]):
            if ref not in there:
                yield f"operation {name}: message {ref.rpartition('/')[2]} is gone"
                continue
            before, after = _message(old, ref), _message(new, ref)
            for part in ("headers", "payload"):
                sides = Side(old, before.get(part, {})), Side(new, after.get(part, {}))
                yield from _side(direction, *sides, f"{ref.rpartition('/')[2]} {part}")


def _message(document: Document, ref: str) -> Document:
    found: Document = followed(document, ref)
    while "$ref" in found:
        found = followed(document, found["$ref"])
    return found
