"""Nodes visited, and moved to another place of the text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields
from functools import wraps
from typing import TypeVar

from initdsl.text.source import Span

from .nodes import Maybe, Node, Path, Regex, Rule, Selector, Union_, Within

NOT_CHILDREN = frozenset(("span", "kind", "name_span", "operator_span", "path_span", "source", "grouped"))


SELECTORS = (Path, Regex, Union_, Within, Maybe)


# of a class of nodes the fields that may hold nodes; `None` for any other class
_CHILDREN: dict[type, tuple[str, ...] | None] = {}


def _fields(kind: type) -> tuple[str, ...] | None:
    found = None
    if hasattr(kind, "kind"):
        found = tuple(f.name for f in fields(kind) if f.name not in NOT_CHILDREN)
    _CHILDREN[kind] = found
    return found


def children(value: Node) -> list[Node]:
    """The nodes directly inside a node, in the order of the text."""
    kind = type(value)
    names = _CHILDREN[kind] if kind in _CHILDREN else _fields(kind)
    found: list[Node] = []
    for name in names or ():
        child = getattr(value, name)
        for item in child if type(child) is tuple else (child,):
            kind = type(item)
            if (_CHILDREN[kind] if kind in _CHILDREN else _fields(kind)) is not None:
                found.append(item)
    return found


def selectors_of(rule: Rule) -> list[Selector]:
    """Return the selectors that a statement is about: its targets or operands."""
    return [child for child in children(rule) if isinstance(child, SELECTORS)]


def walk(value: Node) -> Iterator[Node]:
    """A node and everything inside it, outermost first."""
    stack = [value]
    while stack:
        current = stack.pop()
        yield current
        inside = children(current)
        inside.reverse()
        stack += inside


Given = TypeVar("Given")
Result = TypeVar("Result")


# nodes of which a function remembers what it returned
MOST_REMEMBERED = 1 << 16


def remembered(function: Callable[[Given], Result]) -> Callable[[Given], Result]:
    """Make a function remember what it returned for a node, or for a tuple of nodes, by which object that is.

    To hash a node, as other caches do, goes through everything inside it each time.
    """
    known: dict[int, tuple[Given, Result]] = {}  # the node too: while it is there, no other has its `id`

    @wraps(function)
    def once(node: Given) -> Result:
        found = known.get(id(node))
        if found is None:
            if len(known) >= MOST_REMEMBERED:
                known.clear()
            found = known[id(node)] = (node, function(node))
        return found[1]

    return once


_MOVED: dict[type, tuple[tuple[str, bool], ...]] = {}


def moved(value: Node, by: int) -> Node:
    """The same node so many characters further on."""
    kind = type(value)
    if kind is tuple:
        return tuple([moved(item, by) for item in value])
    parts = _MOVED.get(kind)
    if parts is None:
        names = [f.name for f in fields(kind)] if hasattr(kind, "kind") else []
        parts = _MOVED[kind] = tuple((name, name == "span" or name.endswith("_span")) for name in names)
    if not parts:
        return value
    made = []
    for name, is_span in parts:
        part = getattr(value, name)
        made.append(Span(part[0] + by, part[1] + by) if is_span else moved(part, by))
    return kind(*made)
