"""Go's testing package, with testify's suites."""

import re
from dataclasses import dataclass

from tree_sitter import Node

from examples.repository_analysis.found import Case, Kind, Skip, Source, Suite, Tests, whole_file
from examples.repository_analysis.models import Framework
from examples.repository_analysis.projects import Project
from examples.repository_analysis.tree import is_string, line, text, title

FRAMEWORKS = (Framework.GO,)
SUFFIXES = (".go",)

# "TestXxx where Xxx does not start with a lowercase letter" (go doc testing).
_NAME = re.compile(r"(Test|Benchmark|Fuzz|Example)(?![a-z])\w*")
_KINDS = {"Benchmark": Kind.BENCHMARK, "Fuzz": Kind.FUZZ, "Example": Kind.EXAMPLE, "Test": Kind.TEST}
_HANDLES = {"Test": "T", "Benchmark": "B", "Fuzz": "F"}
_SKIPS = {"Skip", "Skipf", "SkipNow"}
_BRANCHES = {"if_statement", "expression_switch_statement", "type_switch_statement", "select_statement"} | {
    "for_statement"
}
_SUITE_METHOD = re.compile(r"Test(?![a-z])\w*")


def might_have_tests(path: str, data: bytes, project: Project) -> bool:
    """Files the go tool compiles for tests only."""
    del project
    return path.endswith("_test.go") and b"func " in data


def find_tests(source: Source) -> list[Tests]:
    """The functions `go test` runs, their subtests, and the methods of testify's suites."""
    whole = whole_file()
    methods: dict[str, Suite] = {}
    testify = b"testify/suite" in source.data
    for node in source.root.named_children:
        if node.type == "function_declaration":
            _read_function(node, whole)
        elif node.type == "method_declaration":
            receiver = _receiver(node)
            if testify or receiver.endswith("Suite"):
                _read_method(node, methods.setdefault(receiver, Suite(receiver, line(node))))
    whole.suites.extend(suite for suite in methods.values() if suite.cases or suite.suites)
    return [Tests(Framework.GO, whole)]


def _read_function(node: Node, whole: Suite) -> None:
    name = text(node.child_by_field_name("name"))
    match = _NAME.fullmatch(name)
    if match is None or not _takes(node.child_by_field_name("parameters"), _HANDLES.get(match[1])):
        return
    _read_case(node, Case(name, line(node), kind=_KINDS[match[1]]), whole)


def _read_method(node: Node, suite: Suite) -> None:
    name = text(node.child_by_field_name("name"))
    parameters = node.child_by_field_name("parameters")
    if _SUITE_METHOD.fullmatch(name) and parameters is not None and len(parameters.named_children) <= 1:
        _read_case(node, Case(name, line(node)), suite)


def _receiver(node: Node) -> str:
    """The name of a method's type, without pointer and type parameters."""
    return re.sub(r"\[.*", "", text(node.child_by_field_name("receiver")).strip("()").split(" ")[-1]).lstrip("*")


def _takes(parameters: Node | None, handle: str | None) -> bool:
    """Whether the parameters are one *testing.T (or B, F), or none for an example."""
    declared = parameters.named_children if parameters is not None else []
    if handle is None:
        return not declared
    return len(declared) == 1 and text(declared[0].child_by_field_name("type")) == f"*testing.{handle}"


@dataclass(frozen=True, slots=True)
class _Spot:
    """A node of a test's body: the test it belongs to, and what stands between the two."""

    node: Node
    case: Case
    suite: Suite
    branch: bool = False
    loop: bool = False


def _read_case(node: Node, case: Case, suite: Suite) -> None:
    """Add the case to the suite; if it has subtests, they make a suite of its name beside it."""
    suite.cases.append(case)
    body = node.child_by_field_name("body")
    if body is None:
        return
    nested = Suite(case.name, case.line)
    pending = [_Spot(body, case, nested)]
    made = [(suite, nested)]
    while pending:
        spot = pending.pop()
        subtest = _subtest(spot.node) if spot.node.type == "call_expression" else None
        if subtest is not None:
            pending.extend(_read_subtest(spot, *subtest, made))
            continue
        if spot.node.type == "call_expression":
            _read_skip(spot)
        branch = spot.branch or spot.node.type in _BRANCHES or spot.node.type == "func_literal"
        loop = spot.loop or spot.node.type == "for_statement"
        pending.extend(
            _Spot(child, spot.case, spot.suite, branch, loop) for child in reversed(spot.node.named_children)
        )
    for parent, child in made:
        if child.cases:
            parent.suites.append(child)


def _read_subtest(spot: _Spot, name: Node, function: Node, made: list[tuple[Suite, Suite]]) -> list[_Spot]:
    """Add a subtest to the suite of its test; what is left to read is its function's body."""
    literal = is_string(name)
    subtest = Case(title(name), line(name), kind=Kind.SUBTEST, parameterised=spot.loop or not literal)
    if spot.case.kind is Kind.BENCHMARK:
        subtest.kind = Kind.BENCHMARK
    spot.suite.cases.append(subtest)
    below = Suite(subtest.name, subtest.line)
    made.append((spot.suite, below))
    body = function.child_by_field_name("body") if function.type == "func_literal" else None
    return [_Spot(body, subtest, below, loop=spot.loop)] if body is not None else []


def _subtest(call: Node) -> tuple[Node, Node] | None:
    """The name and function of `t.Run(name, function)`, whatever t is called."""
    called = call.child_by_field_name("function")
    arguments = call.child_by_field_name("arguments")
    if called is None or called.type != "selector_expression" or arguments is None:
        return None
    if text(called.child_by_field_name("field")) != "Run" or len(arguments.named_children) != 2:
        return None
    name, function = arguments.named_children
    handle = text(called.child_by_field_name("operand"))
    return (name, function) if _is_test_function(function, handle) else None


def _is_test_function(function: Node, handle: str) -> bool:
    """A literal that takes *testing.T or B, or (testify) nothing; or something named elsewhere, run by `t`."""
    if function.type != "func_literal":
        return function.type in {"identifier", "selector_expression", "call_expression"} and len(handle) <= 2
    declared = text(function.child_by_field_name("parameters"))
    return declared == "()" or "testing." in declared


def _read_skip(spot: _Spot) -> None:
    called = spot.node.child_by_field_name("function")
    if called is None or called.type != "selector_expression":
        return
    operand = text(called.child_by_field_name("operand"))
    if text(called.child_by_field_name("field")) not in _SKIPS or not re.fullmatch(
        r"[a-z]\w{0,2}(?:\.T\(\))?", operand
    ):
        return
    arguments = spot.node.child_by_field_name("arguments")
    first = arguments.named_children[0] if arguments is not None and arguments.named_children else None
    spot.case.skip_as(Skip.SOMETIMES if spot.branch else Skip.ALWAYS, title(first) or None)
