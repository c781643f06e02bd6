"""RSpec."""

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from tree_sitter import Node

from examples.repository_analysis.found import Case, Marked, Skip, Source, Suite, Tests, whole_file
from examples.repository_analysis.models import Framework
from examples.repository_analysis.projects import Project
from examples.repository_analysis.tree import DEEPEST, is_string, line, surrounded, text, title

FRAMEWORKS = (Framework.RSPEC,)
SUFFIXES = (".rb",)

_HINT = re.compile(rb"\b(?:describe|context|feature|shared_examples\w*|example_group|shared_context)\b")
_SUITES = {"describe", "context", "feature", "example_group", "shared_examples", "shared_examples_for"} | {
    "shared_context"
}
_CASES = {"it", "specify", "example", "scenario", "its"}
_PREFIXED = re.compile(r"([fx])(describe|context|feature|it|specify|example|scenario)")
_ITERATING = {"each", "each_with_index", "each_pair", "each_with_object", "times", "map", "upto"}
_LOOPS = {"for", "while", "until"}
_BLOCKS = frozenset({"block", "do_block", "lambda"})
_CONDITIONS = frozenset({"if", "unless", "if_modifier", "unless_modifier", "case", "conditional"})


def might_have_tests(path: str, data: bytes, project: Project) -> bool:
    """Ruby files named or placed as specs, unless they say they are minitest's."""
    del project
    place = PurePosixPath(path)
    named = place.name.endswith("_spec.rb") or "spec" in place.parts[:-1]
    return named and _HINT.search(data) is not None and b"minitest" not in data


def find_tests(source: Source) -> list[Tests]:
    """The groups and examples; what an example's own body builds is no test of this repository."""
    whole = whole_file()
    pending = [_Spot(source.root, whole)]
    while pending:
        spot = pending.pop()
        if spot.node.type == "call" and (called := _called(spot)) is not None:
            pending.extend(_read_call(spot, called))
            continue
        loop = spot.loop or spot.node.type in _LOOPS or _iterates(spot.node)
        pending.extend(_Spot(child, spot.suite, spot.depth, loop) for child in reversed(spot.node.named_children))
    return [Tests(Framework.RSPEC, whole)]


@dataclass(frozen=True, slots=True)
class _Spot:
    """A node still to be read, and the group its examples belong to."""

    node: Node
    suite: Suite
    depth: int = 0
    loop: bool = False


@dataclass(frozen=True, slots=True)
class _Called:
    """A call that makes an example or a group."""

    name: str
    mark: str
    """`f` or `x`, as in fit and xit; `pending` or `skip`; or empty."""
    arguments: list[Node]
    block: Node | None


def _called(spot: _Spot) -> _Called | None:
    call = spot.node
    name = text(call.child_by_field_name("method"))
    receiver = text(call.child_by_field_name("receiver"))
    mark = ""
    if name in {"focus", "pending", "skip"}:
        name, mark = "it", {"focus": "f"}.get(name, name)
    elif prefixed := _PREFIXED.fullmatch(name):
        mark, name = prefixed[1], prefixed[2]
    if name not in _SUITES | _CASES or receiver not in {"", "RSpec"} or (receiver and name in _CASES):
        return None
    arguments = call.child_by_field_name("arguments")
    found = _Called(
        name=name,
        mark=mark,
        arguments=arguments.named_children if arguments is not None else [],
        block=call.child_by_field_name("block"),
    )
    if name in _SUITES:
        return found if found.block is not None else None
    # Outside of every group `it`, `example` and `skip` are just methods of that name.
    is_example = found.block is not None or any(is_string(argument) for argument in found.arguments)
    return found if is_example and spot.depth > 0 else None


def _read_call(spot: _Spot, called: _Called) -> list[_Spot]:
    """Add the example or group; what is left to read is the block of a group."""
    words = [title(argument) for argument in called.arguments if argument.type not in {"pair", "simple_symbol"}]
    name, at = " ".join(words) or called.name, line(spot.node)
    made: Case | Suite
    left = []
    if called.name in _SUITES:
        made = Suite(name, at)
        spot.suite.suites.append(made)
        if called.block is not None and spot.depth < DEEPEST:
            left = [_Spot(called.block, made, spot.depth + 1, spot.loop)]
    else:
        made = Case(name, at, parameterised=spot.loop)
        spot.suite.cases.append(made)
        if called.block is None:
            made.skip_as(Skip.ALWAYS, "no body")
        else:
            _read_skips_inside(called.block, made)
    _read_mark(made, called)
    for argument in called.arguments:
        _read_metadata(made, argument)
    return left


def _read_mark(made: Marked, called: _Called) -> None:
    made.focused |= called.mark == "f"
    if called.mark in {"x", "skip"}:
        made.skip_as(Skip.ALWAYS)
    elif called.mark == "pending":
        made.expected_to_fail = called.block is not None


def _read_metadata(made: Marked, argument: Node) -> None:
    """Metadata of an example or group: `:focus`, `skip: "why"`, `if: condition`."""
    if argument.type == "simple_symbol":
        key, value = text(argument).lstrip(":"), None
    elif argument.type == "pair":
        key, value = text(argument.child_by_field_name("key")).strip(":"), argument.child_by_field_name("value")
    else:
        return
    if text(value) in {"false", "nil"}:
        return
    if key in {"focus", "focused"}:
        made.focused = True
    elif key == "skip":
        made.skip_as(Skip.ALWAYS, title(value) if is_string(value) else None)
    elif key == "pending":
        made.expected_to_fail = True
    elif key in {"if", "unless"}:
        made.skip_as(Skip.SOMETIMES, f"{key} {title(value)}")


def _read_skips_inside(block: Node, case: Case) -> None:
    """Calls of `skip` and `pending` in an example's body."""
    if block.text is None or not re.search(rb"\b(?:skip|pending)\b", block.text):
        return
    for node, parent, around in surrounded(block, _BLOCKS | _CONDITIONS):
        # Without arguments it is parsed as a plain name.
        if node.type == "call" and node.child_by_field_name("receiver") is None:
            name, arguments = text(node.child_by_field_name("method")), node.child_by_field_name("arguments")
        elif node.type == "identifier" and parent.type in _STATEMENTS:
            name, arguments = text(node), None
        else:
            continue
        if name not in {"skip", "pending"} or around & _BLOCKS:
            continue
        if name == "pending":
            case.expected_to_fail = True
            continue
        reason = title(arguments.named_children[0]) if arguments is not None and arguments.named_children else None
        case.skip_as(Skip.SOMETIMES if around else Skip.ALWAYS, reason)


_STATEMENTS = {"body_statement", "block_body", "then", "if_modifier", "unless_modifier"}


def _iterates(node: Node) -> bool:
    """Whether the node is a call such as `rows.each do … end`."""
    return (
        node.type == "call"
        and node.child_by_field_name("receiver") is not None
        and text(node.child_by_field_name("method")) in _ITERATING
    )
