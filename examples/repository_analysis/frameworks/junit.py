"""JUnit 4 (with JUnit 3's TestCase, which it runs), JUnit 5 and TestNG, in Java."""

import re

from tree_sitter import Node

from examples.repository_analysis.found import Case, Marked, Skip, Source, Suite, Tests, whole_file
from examples.repository_analysis.models import Framework
from examples.repository_analysis.projects import Project
from examples.repository_analysis.tree import DEEPEST, descendants, is_string, line, text, title

FRAMEWORKS = (Framework.JUNIT4, Framework.JUNIT5, Framework.TESTNG)
SUFFIXES = (".java",)

_HINT = re.compile(rb"@(?:\w+\.)*(?:Test|ParameterizedTest|RepeatedTest|TestFactory|TestTemplate)\b|\bTestCase\b")
_ROWS = {"ParameterizedTest", "RepeatedTest", "TestFactory", "TestTemplate"}
_TYPES = {"class_declaration", "interface_declaration", "record_declaration", "enum_declaration"}
_CONDITIONAL = re.compile(r"(?:Disabled|Enabled)(?:On|If|For)\w*")
_PACKAGES = (
    ("org.junit.jupiter.", Framework.JUNIT5),
    ("org.testng.", Framework.TESTNG),
    ("org.junit.", Framework.JUNIT4),
    ("junit.framework.", Framework.JUNIT4),
)


def might_have_tests(path: str, data: bytes, project: Project) -> bool:
    """Files with a test annotation, or JUnit 3's base class."""
    del path, project
    return _HINT.search(data) is not None


def find_tests(source: Source) -> list[Tests]:
    """The annotated methods of every class, nested ones included."""
    imports = _Imports(source.root)
    suites = {framework: whole_file() for framework in FRAMEWORKS}
    for node in source.root.named_children:
        if node.type in _TYPES:
            for framework, suite in _read_type(node, imports, 0).items():
                suites[framework].suites.append(suite)
    return [Tests(framework, suite) for framework, suite in suites.items()]


class _Imports:
    """Which framework a file's `Test` is."""

    def __init__(self, root: Node) -> None:
        self._named: dict[str, Framework] = {}
        self._wild: list[Framework] = []
        for node in root.named_children:
            if node.type == "import_declaration":
                self._read(text(node).removeprefix("import").removesuffix(";").strip())
        self.any = next(iter([*self._named.values(), *self._wild]), Framework.JUNIT4)

    def _read(self, name: str) -> None:
        if name.startswith("static "):
            return
        for package, framework in _PACKAGES:
            if name.startswith(package):
                if name.endswith(".*"):
                    self._wild.append(framework)
                else:
                    self._named[name.rpartition(".")[2]] = framework
                return

    def framework(self, annotation: str) -> Framework:
        """The framework of an annotation, by its full name, its import or the file's other imports."""
        for package, framework in _PACKAGES:
            if annotation.startswith(package):
                return framework
        if annotation in _ROWS:
            return Framework.JUNIT5
        if annotation in self._named:
            return self._named[annotation]
        return self._wild[0] if self._wild else self.any


def _read_type(node: Node, imports: _Imports, depth: int) -> dict[Framework, Suite]:
    """The suite of a class for each framework it has tests of; mostly none or one."""
    name = text(node.child_by_field_name("name"))
    body = node.child_by_field_name("body")
    annotations = _annotations(node)
    is_test_case = "TestCase" in text(node.child_by_field_name("superclass"))
    suites: dict[Framework, Suite] = {}

    def suite(framework: Framework) -> Suite:
        if framework not in suites:
            suites[framework] = Suite(name, line(node))
            _read_annotations(suites[framework], annotations)
        return suites[framework]

    for member in _members(body):
        if member.type == "method_declaration":
            found = _read_method(member, imports, is_test_case=is_test_case)
            if found is not None:
                suite(found[0]).cases.append(found[1])
        elif member.type in _TYPES and depth < DEEPEST:
            for framework, nested in _read_type(member, imports, depth + 1).items():
                suite(framework).suites.append(nested)
    return suites


def _members(body: Node | None) -> list[Node]:
    if body is None:
        return []
    members: list[Node] = []
    for child in body.named_children:
        # An enum keeps its methods one level further down.
        members.extend(child.named_children if child.type == "enum_body_declarations" else [child])
    return members


def _read_method(node: Node, imports: _Imports, *, is_test_case: bool) -> tuple[Framework, Case] | None:
    name = text(node.child_by_field_name("name"))
    annotations = _annotations(node)
    case = Case(name, line(node.child_by_field_name("name") or node))
    _read_annotations(case, annotations)
    for annotation in annotations:
        full = text(annotation.child_by_field_name("name"))
        if (simple := full.rpartition(".")[2]) == "Test" or simple in _ROWS:
            framework = imports.framework(full)
            case.parameterised |= simple in _ROWS or _has(annotation, "dataProvider")
            if framework is Framework.TESTNG and _has(annotation, "enabled", "false"):
                case.skip_as(Skip.ALWAYS)
            return framework, case
    parameters = node.child_by_field_name("parameters")
    if is_test_case and name.startswith("test") and parameters is not None and not parameters.named_children:
        return Framework.JUNIT4, case
    return None


def _annotations(node: Node) -> list[Node]:
    modifiers = next((child for child in node.named_children if child.type == "modifiers"), None)
    if modifiers is None:
        return []
    return [child for child in modifiers.named_children if child.type in {"annotation", "marker_annotation"}]


def _read_annotations(marked: Marked, annotations: list[Node]) -> None:
    for annotation in annotations:
        simple = text(annotation.child_by_field_name("name")).rpartition(".")[2]
        if simple in {"Disabled", "Ignore"}:
            marked.skip_as(Skip.ALWAYS, _first_string(annotation))
        elif _CONDITIONAL.fullmatch(simple):
            marked.skip_as(Skip.SOMETIMES, _first_string(annotation))
        elif simple == "RunWith" and re.search(r"\bParameterized\b|\bTheories\b", text(annotation)):
            marked.parameterised = True


def _first_string(annotation: Node) -> str | None:
    return next((title(node) for node in descendants(annotation) if is_string(node)), None)


def _has(annotation: Node, key: str, value: str | None = None) -> bool:
    """Whether an annotation has the element, with that value if one is given."""
    return any(
        node.type == "element_value_pair"
        and text(node.child_by_field_name("key")) == key
        and value in {None, text(node.child_by_field_name("value"))}
        for node in descendants(annotation)
    )
