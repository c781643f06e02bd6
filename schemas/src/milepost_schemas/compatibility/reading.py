"""Whether who reads by one JSON Schema can take all that is written by another. Decisions only.

Structural, and on the safe side: what it cannot compare counts as breaking.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

OPEN: Final = {"EventKind", "Scope"}
"""Enumerations that may gain values in what we write: readers are told to expect values that they do not know."""
_AT_MOST: Final = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_AT_LEAST: Final = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_SAME: Final = ("pattern", "format", "multipleOf", "contentEncoding")
_KINDS: Final = ("null", "boolean", "integer", "number", "string", "array", "object")
Schema = Any


@dataclass(frozen=True, slots=True)
class Side:
    """A schema where it stands: its document is where its references lead."""

    document: Mapping[str, Any]
    schema: Schema

    def at(self, schema: Schema) -> "Side":
        """Return another schema of the same document."""
        return replace(self, schema=schema)

    def resolved(self) -> "Side":
        """Follow references."""
        schema = self.schema
        while isinstance(schema, Mapping) and "$ref" in schema:
            schema = followed(self.document, schema["$ref"])
        return self.at({} if schema is True else schema)

    @property
    def name(self) -> str:
        """What a reference calls it; empty without one."""
        schema = self.schema
        return schema["$ref"].rpartition("/")[2] if isinstance(schema, Mapping) and "$ref" in schema else ""


def followed(document: Mapping[str, Any], ref: str) -> Any:
    """Return what a local reference leads to. Raises KeyError."""
    found: Any = document
    for part in ref.removeprefix("#/").split("/"):
        found = found[part.replace("~1", "/").replace("~0", "~")]
    return found


def findings(reader: Side, writer: Side, *, old: str, where: str = "") -> Iterator[str]:
    """Yield what a reader would not understand. `old` says which of them, "reader" or "writer", was released before."""
    yield from _Comparison(old).compare(reader, writer, where)


class _Comparison:
    """Remembers pairs it is at work on: schemas may contain themselves."""

    def __init__(self, old: str) -> None:
        self._old_reads = old == "reader"
        self._under_way: set[tuple[int, int]] = set()

    def compare(self, reader: Side, writer: Side, where: str) -> Iterator[str]:
        name = writer.name
        reader, writer = reader.resolved(), writer.resolved()
        pair = (id(reader.schema), id(writer.schema))
        if not reader.schema or pair in self._under_way:  # {}: anything
            return
        self._under_way.add(pair)
        try:
            yield from self._compare(reader, writer, where, opened=self._old_reads and name in OPEN)
        finally:
            self._under_way.discard(pair)

    def _compare(self, reader: Side, writer: Side, where: str, *, opened: bool) -> Iterator[str]:
        if branches := _branches(writer.schema):
            for branch in branches:
                yield from self.compare(reader, writer.at(branch), where)
            return
        if branches := _branches(reader.schema):
            tried = [list(self.compare(reader.at(branch), writer, where)) for branch in branches]
            yield from min(tried, key=len)
            return
        if reader.schema is False or "allOf" in reader.schema or "not" in reader.schema:
            yield f"{where}: cannot be compared"
            return
        yield from _values(reader.schema, writer.schema, where, opened=opened)
        kinds = _kinds(reader.schema), _kinds(writer.schema)
        if unknown := kinds[1] - kinds[0]:
            yield (
                f"{where}: may be {_words(unknown)}, was {_words(kinds[0])}"
                if self._old_reads
                else (f"{where}: may not be {_words(unknown)} any more")
            )
        yield from _limits(reader.schema, writer.schema, where)
        if "object" in kinds[1]:
            yield from self._members(reader, writer, where)
        if "array" in kinds[1]:
            yield from self._items(reader, writer, where)

    def _members(self, reader: Side, writer: Side, where: str) -> Iterator[str]:
        read, written = reader.schema.get("properties", {}), writer.schema.get("properties", {})
        before, now = (read, written) if self._old_reads else (written, read)
        for name in sorted(before.keys() - now.keys()):
            yield f"{where}/{name}: is gone"
        for name in sorted(set(reader.schema.get("required", ())) - set(writer.schema.get("required", ()))):
            if name in now:
                yield f"{where}/{name}: " + ("may be missing now" if self._old_reads else "is required now")
        for name in sorted(read.keys() & written.keys()):
            yield from self.compare(reader.at(read[name]), writer.at(written[name]), f"{where}/{name}")
        rest, more = reader.schema.get("additionalProperties", True), writer.schema.get("additionalProperties", True)
        if isinstance(rest, Mapping) and isinstance(more, Mapping):
            yield from self.compare(reader.at(rest), writer.at(more), f"{where}/*")
        elif isinstance(rest, Mapping) and more is True and not written:
            yield f"{where}/*: may be anything, was {_words(_kinds(rest))}"

    def _items(self, reader: Side, writer: Side, where: str) -> Iterator[str]:
        read, written = reader.schema, writer.schema
        for index, item in enumerate(read.get("prefixItems", ())):
            other = written.get("prefixItems", ())
            yield from self.compare(
                reader.at(item), writer.at(other[index] if index < len(other) else written.get("items", {})),
                f"{where}/{index}",
            )  # fmt: skip
        if "items" in read:
            yield from self.compare(reader.at(read["items"]), writer.at(written.get("items", {})), f"{where}/[]")


def _branches(schema: Schema) -> list[Schema]:
    if not isinstance(schema, Mapping):
        return []
    return list(schema.get("anyOf") or schema.get("oneOf") or ())


def _kinds(schema: Schema) -> set[str]:
    """Return the types that values may have, "number" with "integer" in it."""
    if "type" in schema:
        named = schema["type"]
        found = {named} if isinstance(named, str) else set(named)
    elif (values := _enumerated(schema)) is not None:
        found = {_kind(value) for value in values}
    else:
        found = set(_KINDS)
    return found | {"integer"} if "number" in found else found


def _kind(value: Any) -> str:
    names = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}
    return names.get(type(value), "null")


def _enumerated(schema: Schema) -> list[Any] | None:
    return [schema["const"]] if "const" in schema else schema.get("enum")


def _values(read: Schema, written: Schema, where: str, *, opened: bool) -> Iterator[str]:
    known, sent = _enumerated(read), _enumerated(written)
    if known is None or opened:
        return
    if sent is None:
        yield f"{where}: may be anything, was one of {_words(known)}"
    elif unknown := [value for value in sent if value not in known]:
        yield f"{where}: {_words(unknown)} only one side knows"


def _limits(read: Schema, written: Schema, where: str) -> Iterator[str]:
    for name in _AT_MOST:
        if name in read and not written.get(name, float("inf")) <= read[name]:
            yield f"{where}: {name} is {read[name]} for who reads, {written.get(name, 'not given')} for who writes"
    for name in _AT_LEAST:
        if name in read and not written.get(name, float("-inf")) >= read[name]:
            yield f"{where}: {name} is {read[name]} for who reads, {written.get(name, 'not given')} for who writes"
    if _enumerated(written) is not None:
        return
    for name in _SAME:
        if name in read and written.get(name) != read[name]:
            yield f"{where}: {name} is {read[name]!r} for who reads, {written.get(name)!r} for who writes"


def _words(values: Any) -> str:
    return ", ".join(sorted(str(value) for value in values))
