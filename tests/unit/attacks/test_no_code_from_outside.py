"""Nothing that comes from outside is ever run or unpickled: what could do that is not even imported."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[3]
SOURCES = ["src", "schemas/src", "services/api/src", "services/worker/src", "services/notifier/src"]
UNPACKERS = {"pickle", "cPickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "jsonpickle"}
PICKLING = {"multiprocessing", "concurrent.futures.process", "logging.config"}
"""These unpickle, or make objects by name, what comes over a pipe or a socket."""
RUNNERS = {"eval", "exec", "compile", "__import__"}
YAML = {"yaml.load", "yaml.load_all", "yaml.full_load", "yaml.unsafe_load"}
"""safe_load makes no objects of ours."""
SHELLS = {"system", "popen", "create_subprocess_shell", "getoutput", "getstatusoutput"}


def _trees() -> Iterator[tuple[Path, ast.AST]]:
    for folder in SOURCES:
        for file in sorted((ROOT / folder).rglob("*.py")):
            yield file.relative_to(ROOT), ast.parse(file.read_text(encoding="utf-8"))


def _imported(node: ast.AST) -> set[str]:
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names}
    return {node.module or ""} if isinstance(node, ast.ImportFrom) else set()


def _unpacks(module: str) -> bool:
    return module.partition(".")[0] in UNPACKERS or any(module.startswith(each) for each in PICKLING)


def _called(node: ast.AST) -> str:
    if not isinstance(node, ast.Call):
        return ""
    function = node.func
    return function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")


def test_no_source_of_ours_unpickles_or_runs_text() -> None:
    files = 0
    found: list[str] = []
    for file, tree in _trees():
        files += 1
        for node in ast.walk(tree):
            found.extend(
                f"{file}:{getattr(node, 'lineno', 0)} imports {name}" for name in filter(_unpacks, _imported(node))
            )
            if isinstance(node, ast.Call):
                called = _called(node)
                if isinstance(node.func, ast.Name) and called in RUNNERS:
                    found.append(f"{file}:{node.lineno} calls {called}")
                if ast.unparse(node.func) in YAML:
                    found.append(f"{file}:{node.lineno} makes objects by {called}")
                if called in SHELLS or any(word.arg == "shell" for word in node.keywords):
                    found.append(f"{file}:{node.lineno} starts a shell by {called}")
    assert not found, "\n".join(found)
    assert files > 200


def test_secrets_are_compared_in_constant_time() -> None:
    """A digest, a signature or a key beside == is found by its name."""
    words = {"mac", "digest", "signature", "secret", "password", "api_key", "token"}
    found = []
    for file, tree in _trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Compare) and isinstance(node.ops[0], (ast.Eq, ast.NotEq)):
                sides = [node.left, *node.comparators]
                if any(isinstance(side, ast.Constant) for side in sides):
                    continue  # asked whether there is any, or of which kind
                names = {getattr(side, "id", getattr(side, "attr", "")).lstrip("_") for side in sides}
                if names & words:
                    found.append(f"{file}:{node.lineno} {ast.unparse(node)}")
    assert not found, "\n".join(found)
