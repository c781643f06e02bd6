"""Rust's test harness, as `cargo test` runs it, with the attributes of tokio, rstest and the like."""

import re

from tree_sitter import Node

from examples.repository_analysis.found import Case, Kind, Skip, Source, Suite, Tests, whole_file
from examples.repository_analysis.models import Framework
from examples.repository_analysis.projects import Project
from examples.repository_analysis.tree import DEEPEST, descendants, is_string, line, text, title

FRAMEWORKS = (Framework.CARGO,)
SUFFIXES = (".rs",)

_HINT = re.compile(rb"#\s*\[[\w:\s]*(?:test|bench|quickcheck)|\bproptest!|\b\w*test!\s*[({]")
_ROWS = {"rstest", "test_case", "quickcheck", "proptest", "test_matrix", "parameterized"}
_TESTS = {"test", "wasm_bindgen_test"} | _ROWS
_IN_PROPTEST = re.compile(r"#\s*\[\s*test\s*\](?:\s|//[^\n]*+|#\[[^\]]*+\])*+fn\s+(\w+)")
_MAKES_TESTS = re.compile(r"#\s*\[\s*(?:\w+::)*test\b[^\]]{0,200}\].{0,400}?\bfn\s+\$", re.DOTALL)
_NAMED = re.compile(r"[({\[]\s*(\w+)\s*,")
_BETWEEN = {"line_comment", "block_comment", "attribute_item"}


def might_have_tests(path: str, data: bytes, project: Project) -> bool:
    """Files with an attribute that makes a test: tests stand beside the code."""
    del path, project
    return _HINT.search(data) is not None


def find_tests(source: Source) -> list[Tests]:
    """The functions with a test's attribute, and the calls of macros that make such functions, by module."""
    whole = whole_file()
    macros: set[str] = set()
    pending = [(source.root, whole, 0)]
    while pending:
        body, suite, depth = pending.pop()
        attributes: list[Node] = []
        for node in body.named_children:
            if node.type == "attribute_item":
                attributes.extend(child for child in node.named_children if child.type == "attribute")
            elif node.type == "function_item":
                _read_function(node, attributes, suite)
            elif node.type == "macro_definition" and _MAKES_TESTS.search(text(node)):
                macros.add(text(node.child_by_field_name("name")))
            elif node.type in {"macro_invocation", "expression_statement"}:
                _read_macro(node, suite, macros)
            elif node.type == "mod_item" and depth < DEEPEST:
                below = node.child_by_field_name("body")
                if below is not None:
                    module = Suite(text(node.child_by_field_name("name")), line(node))
                    suite.suites.append(module)
                    pending.append((below, module, depth + 1))
            if node.type not in _BETWEEN:
                attributes = []
    return [Tests(Framework.CARGO, whole)]


def _read_function(node: Node, attributes: list[Node], suite: Suite) -> None:
    """Add a function if one of its attributes makes it a test or a benchmark."""
    case = Case(text(node.child_by_field_name("name")), line(node))
    is_test = False
    for attribute in attributes:
        path = attribute.named_children[0] if attribute.named_children else None
        last = text(path).rpartition("::")[2]
        arguments = attribute.child_by_field_name("arguments")
        if last in _TESTS:
            is_test = True
            case.parameterised |= last in _ROWS - {"rstest"}
        elif last == "bench":
            is_test, case.kind = True, Kind.BENCHMARK
        elif last == "ignore":
            value = attribute.child_by_field_name("value")
            case.skip_as(Skip.ALWAYS, title(value) or None)
        elif last == "cfg_attr" and re.search(r",\s*ignore\b", text(arguments)):
            strings = [title(child) for child in descendants(attribute) if is_string(child)]
            case.skip_as(Skip.SOMETIMES, strings[-1] if "ignore =" in text(arguments) and strings else None)
        elif last == "case":
            case.parameterised = True
    parameters = text(node.child_by_field_name("parameters"))
    case.parameterised |= "#[values" in parameters or "#[case" in parameters
    if is_test:
        suite.cases.append(case)


def _read_macro(node: Node, suite: Suite, macros: set[str]) -> None:
    """Add the tests a macro makes: those in `proptest! { … }`, or the one a test macro's first word names.

    A macro from another file is taken for one that makes tests if its name ends like `rgtest!`.
    """
    macro = node if node.type == "macro_invocation" else node.named_children[0] if node.named_children else None
    if macro is None or macro.type != "macro_invocation":
        return
    name = text(macro.child_by_field_name("macro")).rpartition("::")[2]
    source = text(macro)
    if name == "proptest":
        for match in _IN_PROPTEST.finditer(source):
            at = line(macro) + source.count("\n", 0, match.start(1))
            suite.cases.append(Case(match[1], at, parameterised=True))
    elif (name in macros or name.endswith("test")) and (named := _NAMED.search(source)):
        suite.cases.append(Case(named[1], line(macro)))
