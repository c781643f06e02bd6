"""Small helpers over tree-sitter nodes, shared by the frameworks."""

from collections.abc import Iterator

from tree_sitter import Node

NAME_SHOWN = 160
DEEPEST = 64
"""Suites inside suites; what a hostile file nests deeper is not looked at."""


def text(node: Node | None) -> str:
    """The node's source, or an empty string without a node."""
    return node.text.decode(errors="replace") if node is not None and node.text is not None else ""


def line(node: Node) -> int:
    """The node's first line, counted from 1."""
    return node.start_point.row + 1


def title(node: Node | None) -> str:
    """A name as a person reads it: a string without its quotes, an expression as it stands, on one line."""
    if node is None:
        return ""
    words = " ".join(text(node).split())
    if "string" in node.type:
        words = unquoted(words)
    return words if len(words) <= NAME_SHOWN else words[: NAME_SHOWN - 1] + "…"


def unquoted(words: str) -> str:
    """A string literal's contents, without quotes and the letters before them."""
    stripped = words.lstrip("rRbBuUfF") if words[:1] not in {'"', "'", "`"} else words
    for quote in ('"""', "'''", '"', "'", "`"):
        if stripped.startswith(quote) and stripped.endswith(quote) and len(stripped) >= 2 * len(quote):
            return stripped[len(quote) : -len(quote)]
    return words


def is_string(node: Node | None) -> bool:
    """Whether the node is a literal string of some sort."""
    return node is not None and "string" in node.type


def descendants(node: Node) -> Iterator[Node]:
    """All the nodes below, in the order of the source, without recursion."""
    pending = list(reversed(node.named_children))
    while pending:
        current = pending.pop()
        yield current
        pending.extend(reversed(current.named_children))


def surrounded(root: Node, watched: frozenset[str]) -> Iterator[tuple[Node, Node, frozenset[str]]]:
    """All the nodes below, each with its parent and the watched types of node around it.

    A node's own `parent` is searched for from the top of the file each time, which a wide file makes slow.
    """
    nothing: frozenset[str] = frozenset()
    pending = [(child, root, nothing) for child in reversed(root.named_children)]
    while pending:
        node, parent, around = pending.pop()
        yield node, parent, around
        below = around | {node.type} if node.type in watched else around
        pending.extend((child, node, below) for child in reversed(node.named_children))


def first_error(root: Node) -> int | None:
    """The line of the first place the grammar does not understand, or None."""
    if not root.has_error:
        return None
    node = root
    while True:
        broken = next((child for child in node.children if child.has_error or child.is_missing), None)
        if broken is None or node.is_error:
            return line(node)
        node = broken
