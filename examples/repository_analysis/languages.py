"""From a file's bytes to a syntax tree: the encodings and the tree-sitter grammars."""

import codecs
import re
from collections.abc import Callable
from functools import cache
from pathlib import PurePosixPath

import tree_sitter_go
import tree_sitter_java
import tree_sitter_javascript
import tree_sitter_python
import tree_sitter_ruby
import tree_sitter_rust
import tree_sitter_typescript
from tree_sitter import Language, Parser, Tree

from examples.repository_analysis.tree import first_error

_GRAMMARS: dict[str, Callable[[], object]] = {
    "go": tree_sitter_go.language,
    "java": tree_sitter_java.language,
    "javascript": tree_sitter_javascript.language,
    "python": tree_sitter_python.language,
    "ruby": tree_sitter_ruby.language,
    "rust": tree_sitter_rust.language,
    "tsx": tree_sitter_typescript.language_tsx,
    "typescript": tree_sitter_typescript.language_typescript,
}
# The second is tried where the first finds errors: Flow's types in .js, JSX in .ts.
_BY_SUFFIX = {
    ".go": ("go",),
    ".java": ("java",),
    ".py": ("python",),
    ".rb": ("ruby",),
    ".rs": ("rust",),
    **dict.fromkeys((".js", ".jsx", ".mjs", ".cjs"), ("javascript", "tsx")),
    **dict.fromkeys((".ts", ".mts", ".cts"), ("typescript", "tsx")),
    ".tsx": ("tsx",),
}
# PEP 263; Ruby's magic comment has the same form.
_COOKIE = re.compile(rb"^[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)")
_BOMS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


@cache
def _parser(grammar: str) -> Parser:
    return Parser(Language(_GRAMMARS[grammar]()))


def parse(path: str, data: bytes) -> tuple[Tree, int | None]:
    """The syntax tree of a file in UTF-8, and the line of its first error or None.

    Raises KeyError for a file in no language that is understood.
    """
    best: tuple[Tree, int | None] | None = None
    for grammar in _BY_SUFFIX[PurePosixPath(path).suffix]:
        tree = _parser(grammar).parse(data)
        broken = first_error(tree.root_node)
        if broken is None:
            return tree, None
        best = best or (tree, broken)
    if best is None:
        raise KeyError(path)
    return best


def to_utf8(data: bytes) -> tuple[bytes, str | None]:
    """The file in UTF-8 without a byte order mark, and what was wrong with it or None.

    A declared encoding is honoured; an undeclared one is read as Latin-1, in which nothing is invalid and
    all that matters to a grammar is as in ASCII.
    """
    encoding = next((name for bom, name in _BOMS.items() if data.startswith(bom)), None)
    for line in data.split(b"\n", 2)[:2] if encoding is None else ():
        if match := _COOKIE.match(line):
            encoding = match[1].decode()
            break
    try:
        return data.decode(encoding or "utf-8").encode(), None
    except (UnicodeError, LookupError):
        if b"\0" in data:
            return b"", "binary"
        return data.decode("latin-1").encode(), f"not {encoding or 'UTF-8'}; read as Latin-1"
