"""Statements, selectors and expressions written out again: text that reads back to the same nodes.

The layout is that of one line; comments are not in nodes. Parentheses stand where an operator binds less than the one
around it, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from initdsl.text.wording import quoted

from . import nodes

__all__ = ["written"]


def written(node: nodes.Node) -> str:
    """Return the text of a node: `written(Number(0.02))` is `0.02`."""
    text: str = WRITERS[type(node)](node)
    return text


# ---- expressions


# how tightly an operator binds; what stands inside of one that binds more is put in parentheses
OR, AND, NOT, COMPARISON, SUM, PRODUCT, SIGN, POWER, POSTFIX = range(9)


BINDS = {
    **dict.fromkeys(["==", "!=", "<", "<=", ">", ">="], COMPARISON),
    **dict.fromkeys(["+", "-"], SUM),
    **dict.fromkeys(["*", "/", "//", "%"], PRODUCT),
    "or": OR,
    "and": AND,
    "**": POWER,
}


def _binding(node: nodes.Node) -> int:
    if isinstance(node, nodes.Binary):
        return BINDS[node.operator]
    if isinstance(node, nodes.Unary):
        return NOT if node.operator == "not" else SIGN
    if isinstance(node, nodes.Number) and str(node.value).startswith("-"):
        return SIGN
    return POSTFIX


def _inside(node: nodes.Node, least: int) -> str:
    """Return an operand's text, in parentheses if it binds less than `least`."""
    text = written(node)
    return text if _binding(node) >= least else f"({text})"


def _all(items: Iterable[nodes.Node]) -> str:
    return ", ".join(map(written, items))


def _binary(node: nodes.Binary) -> str:
    binds = BINDS[node.operator]
    left, right = {
        COMPARISON: (SUM, SUM),
        POWER: (POSTFIX, SIGN),
    }.get(binds, (binds, binds + 1))
    return f"{_inside(node.left, left)} {node.operator} {_inside(node.right, right)}"


def _unary(node: nodes.Unary) -> str:
    return (
        f"not {_inside(node.operand, NOT)}" if node.operator == "not" else node.operator + _inside(node.operand, SIGN)
    )


def _tuple(node: nodes.TupleNode) -> str:
    return f"({_all(node.items)}{',' * (len(node.items) == 1)})"


def _mapping(node: nodes.Mapping) -> str:
    pairs = (f"{_string(key)}: {written(value)}" for key, value in zip(node.keys, node.values, strict=True))
    return "{" + ", ".join(pairs) + "}"


def _argument(node: nodes.Argument) -> str:
    return written(node.value) if node.name is None else f"{node.name}={written(node.value)}"


def _slice(node: nodes.Slice) -> str:
    start, stop, step = ("" if part is None else written(part) for part in (node.start, node.stop, node.step))
    return f"{start}:{stop}" + (f":{step}" if step else "")


def _string(text: str) -> str:
    lines = ("\\t".join(quoted(part)[1:-1] for part in line.split("\t")) for line in text.split("\n"))
    return '"' + "\\n".join(lines) + '"'


# ---- selectors


def _predicates(predicates: tuple[nodes.Predicate, ...]) -> str:
    return f"({_all(predicates)})" if predicates else ""


def _predicate(node: nodes.Predicate) -> str:
    if node.operator is None or node.value is None:
        return f"{node.operator or ''}{node.attribute}"
    return f"{node.attribute}{node.operator}{_inside(node.value, SUM)}"


def _class(node: nodes.ClassPattern) -> str:
    return node.name + "+" * node.subclasses + _predicates(node.predicates)


def _step(node: nodes.Step) -> str:
    return f".{node.name}{_predicates(node.predicates)}"


def _index(node: nodes.Index) -> str:
    return f"[{_all(node.items)}]{_predicates(node.predicates)}"


def _view(node: nodes.View) -> str:
    return f" as ({_all(node.shape)}{',' * (len(node.shape) == 1)})" + (
        "" if node.index is None else written(node.index)
    )


def _path(node: nodes.Path) -> str:
    root = "" if node.root is None else "net" if isinstance(node.root, str) else written(node.root)
    return root + "".join(map(written, node.steps)) + ("" if node.view is None else written(node.view))


def _grouped(node: nodes.Node, *bare: type) -> str:
    """Return a selector's text, in parentheses unless it is a path, a regular expression or one of the `bare`."""
    text = written(node)
    return text if isinstance(node, (nodes.Path, nodes.Regex, *bare)) else f"({text})"


def _optional(node: nodes.Node) -> str:
    return _grouped(node, nodes.Maybe)


def _union(node: nodes.Union_) -> str:
    if len(node.members) == 1:
        return written(node.members[0])
    return ", ".join(map(_optional, node.members))


def _within(node: nodes.Within) -> str:
    return f"{_grouped(node.selector, nodes.Within)} {'not ' * node.negated}in {_grouped(node.container)}"


# ---- statements


def _assign(node: nodes.Assign) -> str:
    return f"{written(node.targets)} {node.operator} {written(node.value)}"


def _use(node: nodes.Use) -> str:
    return f"use {_string(node.path)}"


def _block(node: nodes.Block) -> str:
    return f"{written(node.targets)} {{ {'; '.join(map(written, node.rules))} }}"


def _expect(node: nodes.Expect) -> str:
    if node.what == "tied":
        return f"expect tied {' '.join(map(_optional, node.operands))}"
    said = f"expect {written(node.operands[0])} {node.what}"
    if node.operator is None:
        return said
    if node.operator == "in":
        return f"{said} in [{_all(node.bounds)}]"
    return f"{said} {node.operator} {_inside(node.bounds[0], SUM)}"


WRITERS: dict[type, Callable[[Any], str]] = {
    nodes.Number: lambda node: repr(node.value),
    nodes.String: lambda node: _string(node.value),
    nodes.Word: lambda node: str(node.word),
    nodes.Name: lambda node: str(node.name),
    nodes.Member: lambda node: f"{_inside(node.base, POSTFIX)}.{node.name}",
    nodes.Subscript: lambda node: f"{_inside(node.base, POSTFIX)}[{_all(node.items)}]",
    nodes.Unary: _unary,
    nodes.Binary: _binary,
    nodes.Argument: _argument,
    nodes.Call: lambda node: f"{node.function}({_all(node.arguments)})",
    nodes.Length: lambda node: f"len({written(node.selector)})",
    nodes.TupleNode: _tuple,
    nodes.ListNode: lambda node: f"[{_all(node.items)}]",
    nodes.Mapping: _mapping,
    nodes.Slice: _slice,
    nodes.Every: lambda node: "*",
    nodes.Ellipsis: lambda node: "...",
    nodes.Predicate: _predicate,
    nodes.ClassPattern: _class,
    nodes.Step: _step,
    nodes.Index: _index,
    nodes.View: _view,
    nodes.Path: _path,
    nodes.Regex: lambda node: "/" + node.pattern.replace("/", "\\/") + "/",
    nodes.Union_: _union,
    nodes.Within: _within,
    nodes.Maybe: lambda node: f"{_grouped(node.selector, nodes.Within)}?",
    nodes.Assign: _assign,
    nodes.Tie: lambda node: f"tie {' '.join(map(_optional, node.operands))}",
    nodes.Copy: lambda node: f"copy {' '.join(map(_optional, node.operands))}",
    nodes.Keep: lambda node: f"keep {written(node.targets)}",
    nodes.Default: lambda node: f"default {written(node.targets)}",
    nodes.Let: lambda node: f"let {node.name} = {written(node.value)}",
    nodes.Use: _use,
    nodes.Block: _block,
    nodes.Expect: _expect,
}
