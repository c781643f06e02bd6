"""pytest and unittest."""

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from tree_sitter import Node

from examples.repository_analysis.found import Case, Marked, Skip, Source, Suite, Tests, whole_file
from examples.repository_analysis.models import Framework
from examples.repository_analysis.projects import Project
from examples.repository_analysis.tree import DEEPEST, is_string, line, surrounded, text, title

FRAMEWORKS = (Framework.PYTEST, Framework.UNITTEST)
SUFFIXES = (".py",)

_TEST_CASE = re.compile(r"(?:^|\.)\w*TestCase$")
_BRANCHES = {"if_statement", "else_clause", "elif_clause", "try_statement", "with_statement", "block"} | {
    "except_clause",
    "finally_clause",
}
_SKIPS = {
    "skip": Skip.ALWAYS,
    "skipif": Skip.SOMETIMES,
    "skipIf": Skip.SOMETIMES,
    "skipUnless": Skip.SOMETIMES,
}
_ROWS = {"parametrize", "given", "data", "file_data"}
_FUNCTION = frozenset({"function_definition", "lambda"})
_CONDITIONS = frozenset({"if_statement", "try_statement", "for_statement", "while_statement", "with_statement"})


def might_have_tests(path: str, data: bytes, project: Project) -> bool:
    """Files pytest would collect, and any with a class that looks like unittest's."""
    return b"TestCase" in data or (b"test" in data and _pytest_collects(path, project))


def find_tests(source: Source) -> list[Tests]:
    """The functions and classes pytest collects, and unittest's TestCase classes."""
    pytest, unittest = whole_file(), whole_file()
    reader = _Reader(source, pytest, unittest)
    for node, decorators in _definitions(source.root):
        reader.read(node, decorators, pytest, depth=0)
    _read_module_marks(source.root, pytest, unittest)
    return [Tests(Framework.PYTEST, pytest), Tests(Framework.UNITTEST, unittest)]


def _pytest_collects(path: str, project: Project) -> bool:
    name = PurePosixPath(path).name
    return any(fnmatchcase(path if "/" in glob else name, glob) for glob in project.python_files)


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    """Whether pytest takes a name: a pattern is a prefix, or a glob if it has a glob's characters."""
    return any(fnmatchcase(name, p) if set(p) & set("*?[") else name.startswith(p) for p in patterns)


class _Reader:
    """Sorts the definitions of one file into the suites of the two frameworks."""

    def __init__(self, source: Source, pytest: Suite, unittest: Suite) -> None:
        self._project = source.project
        self._collected = _pytest_collects(source.path, source.project)
        self._pytest = pytest
        self._unittest = unittest
        self._test_cases: set[str] = set()

    def read(self, node: Node, decorators: list[Node], suite: Suite, depth: int) -> None:
        name = text(node.child_by_field_name("name"))
        if node.type == "function_definition":
            if self._collected and _matches(name, self._project.python_functions) and not _is_fixture(decorators):
                suite.cases.append(_case(node, name, decorators))
            return
        bases = [text(base) for base in _arguments(node.child_by_field_name("superclasses"))]
        is_test_case = any(base in self._test_cases or _TEST_CASE.search(base) for base in bases)
        if is_test_case:
            self._test_cases.add(name)
        elif not (self._collected and _matches(name, self._project.python_classes)):
            return
        self._read_class(node, name, decorators, suite, depth, is_test_case=is_test_case)

    def _read_class(
        self, node: Node, name: str, decorators: list[Node], suite: Suite, depth: int, *, is_test_case: bool
    ) -> None:
        body = node.child_by_field_name("body")
        found = Suite(name, line(node))
        _read_decorators(found, decorators)
        if body is None or depth > DEEPEST or (not is_test_case and _is_not_collected(body)):
            return
        _read_marks(body, found)
        for member, marks in _definitions(body):
            member_name = text(member.child_by_field_name("name"))
            if not is_test_case:
                self.read(member, marks, found, depth + 1)
            elif member.type == "function_definition" and member_name.startswith("test") and not _is_fixture(marks):
                found.cases.append(_case(member, member_name, marks))
        if found.cases or found.suites:
            (self._unittest if is_test_case else suite).suites.append(found)


def _definitions(body: Node) -> Iterator[tuple[Node, list[Node]]]:
    """The functions and classes of a body with their decorators; those in if, try and with too."""
    pending = list(reversed(body.named_children))
    while pending:
        node = pending.pop()
        if node.type == "decorated_definition":
            definition = node.child_by_field_name("definition")
            if definition is not None:
                yield definition, [child for child in node.named_children if child.type == "decorator"]
        elif node.type in {"function_definition", "class_definition"}:
            yield node, []
        elif node.type in _BRANCHES:
            pending.extend(reversed(node.named_children))


def _case(node: Node, name: str, decorators: list[Node]) -> Case:
    case = Case(name, line(node))
    _read_decorators(case, decorators)
    body = node.child_by_field_name("body")
    if body is None or body.text is None:
        return case
    if b"skip" in body.text.lower():
        _read_skips_inside(body, case)
    case.parameterised |= b".subTest(" in body.text or b"subtests.test(" in body.text
    return case


def _read_skips_inside(body: Node, case: Case) -> None:
    """Calls of pytest.skip, self.skipTest and raise SkipTest in a test's body."""
    for node, _, around in surrounded(body, _FUNCTION | _CONDITIONS):
        if node.type != "call" or around & _FUNCTION:
            continue
        called = text(node.child_by_field_name("function"))
        if called in {"pytest.skip", "self.skipTest", "unittest.SkipTest", "SkipTest", "skip"}:
            case.skip_as(Skip.SOMETIMES if around else Skip.ALWAYS, _reason(_arguments_of(node)))


def _read_decorators(marked: Marked, decorators: list[Node]) -> None:
    for decorator in decorators:
        expression = decorator.named_children[0] if decorator.named_children else None
        if expression is not None:
            _read_mark(marked, expression)


def _read_mark(marked: Marked, expression: Node) -> None:
    """One decorator or entry of pytestmark."""
    called = expression.child_by_field_name("function") if expression.type == "call" else expression
    *path, last = text(called).split(".")
    arguments = _arguments_of(expression)
    if last in _SKIPS and (not path or path[-1] in {"mark", "unittest", "case", "ut"}):
        marked.skip_as(_SKIPS[last], _reason(arguments))
    elif last in {"xfail", "expectedFailure"}:
        marked.expected_to_fail = True
    elif last == "only" and path[-1:] == ["mark"]:
        marked.focused = True
    elif last in _ROWS or (last == "expand" and path):
        marked.parameterised = True


def _read_module_marks(root: Node, *suites: Suite) -> None:
    for suite in suites:
        _read_marks(root, suite)
    for statement in root.named_children:
        for call in statement.named_children if statement.type == "expression_statement" else []:
            called = text(call.child_by_field_name("function")) if call.type == "call" else ""
            for suite in suites:
                if called == "pytest.skip":
                    suite.skip_as(Skip.ALWAYS, _reason(_arguments_of(call)))
                elif called == "pytest.importorskip":
                    suite.skip_as(Skip.SOMETIMES)


def _read_marks(body: Node, suite: Suite) -> None:
    """The body's `pytestmark = …`, one mark or a list of them."""
    for statement in body.named_children:
        assignment = statement.named_children[0] if statement.named_children else None
        if assignment is None or assignment.type != "assignment":
            continue
        value = assignment.child_by_field_name("right")
        if text(assignment.child_by_field_name("left")) == "pytestmark" and value is not None:
            for mark in value.named_children if value.type in {"list", "tuple"} else [value]:
                _read_mark(suite, mark)


def _is_fixture(decorators: list[Node]) -> bool:
    return any(re.match(rb"@(?:\w+\.)*(?:fixture|property)\b", decorator.text or b"") for decorator in decorators)


def _is_not_collected(body: Node) -> bool:
    """Whether pytest passes a class by: it has a constructor, or says `__test__ = False`."""
    return any(
        (node.type == "function_definition" and text(node.child_by_field_name("name")) == "__init__")
        or (node.type == "expression_statement" and re.match(rb"__test__\s*=\s*False", node.text or b""))
        for node in body.named_children
    )


def _arguments(node: Node | None) -> list[Node]:
    return [child for child in node.named_children if child.type != "comment"] if node is not None else []


def _arguments_of(call: Node) -> list[Node]:
    return _arguments(call.child_by_field_name("arguments")) if call.type == "call" else []


def _reason(arguments: list[Node]) -> str | None:
    """The `reason=` or `msg=`, or else the last string."""
    for argument in arguments:
        if argument.type == "keyword_argument" and text(argument.child_by_field_name("name")) in {"reason", "msg"}:
            return title(argument.child_by_field_name("value"))
    return next((title(argument) for argument in reversed(arguments) if is_string(argument)), None)
