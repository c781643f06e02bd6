"""Jest, Vitest and Mocha, and what looks the same (node:test, Playwright, Bun), in JavaScript and TypeScript."""

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from tree_sitter import Node

from examples.repository_analysis.found import Case, Marked, Skip, Source, Suite, Tests, whole_file
from examples.repository_analysis.models import Framework
from examples.repository_analysis.projects import Project
from examples.repository_analysis.tree import DEEPEST, is_string, line, surrounded, text, title

FRAMEWORKS = (Framework.JEST, Framework.VITEST, Framework.MOCHA, Framework.JAVASCRIPT)
SUFFIXES = (".js", ".jsx", ".mjs", ".cjs", ".ts", ".tsx", ".mts", ".cts")

_HINT = re.compile(rb"\b[fx]?(?:it|test|specify|describe|context|suite)\b[\w.\s]{0,80}[(`]")
_NAME = re.compile(r".*[._-](?:test|tests|spec|cy|e2e)\.\w+|(?:test|tests|spec)\.\w+|.*(?:Test|Spec)\.\w+")
_DIRECTORIES = {"__tests__", "test", "tests", "spec", "specs", "e2e"}
_SUITES = {"describe", "context", "suite"}
_CASES = {"it", "test", "specify"}
_PREFIXED = re.compile(r"([fx])(describe|context|it|test|specify)")
_MODIFIERS = {"only", "skip", "todo", "concurrent", "sequential", "each", "for", "failing", "fails", "fail"} | {
    *("skipIf", "runIf", "shuffle", "parallel", "serial", "fixme", "describe", "if", "todoIf")
}
_WITH_ARGUMENTS = {"each", "for", "skipIf", "runIf", "if", "todoIf"}
_ROWS = {"each", "for"}
_LONGEST_CHAIN = 16
_LOOPS = {"for_statement", "for_in_statement", "while_statement"}
_ITERATING = {"forEach", "map", "each"}
_FUNCTIONS = frozenset({"arrow_function", "function_expression", "function", "generator_function"})
_BRANCHES = frozenset({"if_statement", "switch_statement", "ternary_expression", "try_statement"})
_IMPORT = re.compile(
    rb"""(?:from|import|require\()\s*["'](vitest|@jest/globals|mocha|node:test|bun:test|@playwright/test)["']"""
)
_IMPORTED = {
    b"vitest": Framework.VITEST,
    b"@jest/globals": Framework.JEST,
    b"mocha": Framework.MOCHA,
}
_JEST_OR_VITEST = re.compile(
    rb"\b(jest|vi)\.(?:fn|mock|unmock|doMock|spyOn|useFakeTimers|useRealTimers|setTimeout|resetAllMocks|clearAllMocks)\("
)
_MOCHA_ONLY = re.compile(rb"\bthis\.(?:timeout|slow|retries|skip)\(")


def might_have_tests(path: str, data: bytes, project: Project) -> bool:
    """Files named or placed as tests, with a call that could be one."""
    del project
    place = PurePosixPath(path)
    named = _NAME.fullmatch(place.name) or not _DIRECTORIES.isdisjoint(place.parts[:-1])
    return bool(named) and not place.name.endswith(".d.ts") and _HINT.search(data) is not None


def find_tests(source: Source) -> list[Tests]:
    """The blocks of describe and it, under whatever name and with whatever modifiers."""
    whole = whole_file()
    pending = [_Spot(source.root, whole)]
    while pending:
        spot = pending.pop()
        if spot.node.type == "call_expression" and (called := _called(spot.node)) is not None:
            pending.extend(_read_call(spot, called))
            continue
        loop = spot.loop or spot.node.type in _LOOPS or _iterates(spot.node)
        pending.extend(_Spot(child, spot.suite, spot.depth, loop) for child in reversed(spot.node.named_children))
    return [Tests(_framework(source), whole)]


def _framework(source: Source) -> Framework:
    """The runner: the file's own imports, then what only one runner has, then the nearest project's settings."""
    if match := _IMPORT.search(source.data):
        return _IMPORTED.get(match[1], Framework.JAVASCRIPT)
    if match := _JEST_OR_VITEST.search(source.data):
        return Framework.JEST if match[1] == b"jest" else Framework.VITEST
    if source.project.javascript is not None:
        return source.project.javascript
    return Framework.MOCHA if _MOCHA_ONLY.search(source.data) else Framework.JAVASCRIPT


@dataclass(frozen=True, slots=True)
class _Spot:
    """A node still to be read, and the suite its tests belong to."""

    node: Node
    suite: Suite
    depth: int = 0
    loop: bool = False


@dataclass(frozen=True, slots=True)
class _Called:
    """A call that makes a test or a suite."""

    is_suite: bool
    modifiers: frozenset[str]
    arguments: list[Node]
    condition: str | None
    """What stands in skipIf( ) or runIf( )."""


def _called(call: Node) -> _Called | None:
    """Make sense of `it.only(name, function)`, `describe.each(rows)(name, function)` and the like."""
    arguments = call.child_by_field_name("arguments")
    function = call.child_by_field_name("function")
    if arguments is None or function is None or arguments.type != "arguments":
        return None
    chain, prepared = _chain(function)
    if chain is None:
        return None
    name, *rest = chain
    modifiers = set(rest)
    if prefixed := _PREFIXED.fullmatch(name):
        modifiers.add("only" if prefixed[1] == "f" else "skip")
        name = prefixed[2]
    if name not in _SUITES | _CASES or not modifiers <= _MODIFIERS:
        return None
    if rest and rest[-1] in _WITH_ARGUMENTS and function.type != "call_expression":
        return None
    found = _Called(
        is_suite=name in _SUITES or "describe" in modifiers,
        modifiers=frozenset(modifiers),
        arguments=[child for child in arguments.named_children if child.type != "comment"],
        condition=prepared,
    )
    return found if _is_complete(found) else None


def _chain(function: Node) -> tuple[list[str] | None, str | None]:
    """The names of `a.b(…).c`, and the arguments of the last call among them."""
    names: list[str] = []
    prepared = None
    node: Node | None = function
    for _ in range(_LONGEST_CHAIN):
        if node is None:
            break
        if node.type == "member_expression":
            names.append(text(node.child_by_field_name("property")))
            node = node.child_by_field_name("object")
        elif node.type == "call_expression":
            prepared = prepared or title(node.child_by_field_name("arguments"))
            node = node.child_by_field_name("function")
        elif node.type == "identifier":
            return [text(node), *reversed(names)], prepared
        else:
            return None, None
    return None, None


def _is_complete(called: _Called) -> bool:
    """Whether the arguments are a test's: a name and a function, or a name alone for a test still to write."""
    if not called.arguments:
        return False
    if any(argument.type in _FUNCTIONS for argument in called.arguments):
        return len(called.arguments) > 1
    first = called.arguments[0]
    if called.is_suite:
        return is_string(first) and bool(called.modifiers & {"todo", "skip"})
    return is_string(first) and (len(called.arguments) == 1 or called.arguments[1].type not in {"string", "number"})


def _read_call(spot: _Spot, called: _Called) -> list[_Spot]:
    """Add the test or suite; what is left to read are the functions of a suite."""
    name, at = title(called.arguments[0]), line(called.arguments[0])
    functions = [argument for argument in called.arguments if argument.type in _FUNCTIONS]
    made: Case | Suite
    if called.is_suite:
        made = Suite(name, at)
        spot.suite.suites.append(made)
        left = [_Spot(function, made, spot.depth + 1, spot.loop) for function in functions]
    else:
        made, left = Case(name, at), []
        spot.suite.cases.append(made)
        made.parameterised = spot.loop
        if len(called.arguments) == 1:
            made.skip_as(Skip.ALWAYS, "no body")
        for function in functions:
            _read_skips_inside(function, made)
    _read_modifiers(made, called)
    for options in called.arguments[1:]:
        if options.type == "object":
            _read_options(made, options)
    return left if spot.depth < DEEPEST else []


def _read_modifiers(made: Marked, called: _Called) -> None:
    modifiers = called.modifiers
    made.focused |= "only" in modifiers
    made.parameterised |= bool(modifiers & _ROWS)
    made.expected_to_fail |= bool(modifiers & {"failing", "fails", "fail"})
    if modifiers & {"skip", "todo", "fixme"}:
        made.skip_as(Skip.ALWAYS, "todo" if "todo" in modifiers else None)
    elif modifiers & {"skipIf", "runIf", "if", "todoIf"}:
        made.skip_as(Skip.SOMETIMES, called.condition)


def _read_options(made: Marked, options: Node) -> None:
    """Vitest's, node:test's and Playwright's options: `it(name, { skip: true }, function)`."""
    for pair in options.named_children:
        key, value = title(pair.child_by_field_name("key")), pair.child_by_field_name("value")
        if value is None or text(value) in {"false", "undefined", "null"}:
            continue
        literal = value.type in {"true", "string"}
        if key in {"skip", "todo"}:
            reason = title(value) if is_string(value) else None
            made.skip_as(Skip.ALWAYS if literal else Skip.SOMETIMES, reason)
        elif key == "only":
            made.focused |= literal
        elif key == "fails":
            made.expected_to_fail |= literal


def _read_skips_inside(function: Node, case: Case) -> None:
    """Calls of Mocha's `this.skip()` and of `skip()` on a test's context."""
    if function.text is None or b".skip(" not in function.text:
        return
    for node, _, around in surrounded(function, _BRANCHES | _FUNCTIONS):
        if node.type == "call_expression":
            called = text(node.child_by_field_name("function"))
            if called in {"this.skip", "t.skip", "ctx.skip", "context.skip", "test.skip"}:
                case.skip_as(Skip.SOMETIMES if around or called == "test.skip" else Skip.ALWAYS)


def _iterates(node: Node) -> bool:
    """Whether the node is a call such as `rows.forEach(…)`."""
    if node.type != "call_expression":
        return False
    function = node.child_by_field_name("function")
    return (
        function is not None
        and function.type == "member_expression"
        and text(function.child_by_field_name("property")) in _ITERATING
    )
