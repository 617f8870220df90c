"""Selectors, from the rules of the grammar that are called as these functions."""

from __future__ import annotations

from dataclasses import replace
from itertools import takewhile
from typing import Any, cast

from lark import Token

from initdsl.language.syntax.nodes import (
    ClassPattern,
    Ellipsis,
    Every,
    Expr,
    Index,
    Maybe,
    Path,
    Predicate,
    Regex,
    Selector,
    Slice,
    Step,
    TupleNode,
    Union_,
    View,
    Within,
)

from .children import Children, parts, report, spanned


def targets(c: Children) -> Selector:
    members = tuple(parts(c))
    if len(members) == 1:
        return cast(Selector, members[0])
    span = spanned(members[0], members[-1])
    for member in members:
        inner = member.selector if isinstance(member, Maybe) else member
        if isinstance(inner, Within):
            report(
                "ambiguous-in",
                "beside a `,` it is unclear what `in` belongs to",
                member.span,
                "write `(A, B) in T` or `A, (B in T)`",
            )
            break
    return Union_(members, span)


def optional(c: Children) -> Selector:
    return Maybe(c[0], spanned(c[0], c[1])) if c[1:] else cast(Selector, c[0])


def within(c: Children) -> Within:
    return Within(c[0], c[-1], c[1].type == "NOT", spanned(c[0], c[-1]))


def group(c: Children) -> Union_:
    inner = c[1]
    members = inner.members if isinstance(inner, Union_) and not inner.grouped else (inner,)
    return Union_(members, spanned(c[0], c[2]), True)


def regex(c: Children) -> Regex:
    return Regex(c[0][1:-1].replace("\\/", "/"), spanned(c[0], c[0]))


def view(c: Children) -> Path:
    path, _, shape, *index = c
    view = View(shape.items, index[0] if index else None, spanned(shape, c[-1]))
    return cast(Path, replace(path, view=view, span=spanned(path, c[-1])))


def shape(c: Children) -> TupleNode:
    return TupleNode(tuple(parts(c)), spanned(c[0], c[-1]))


def head(c: Children) -> Any:
    if isinstance(c[0], Token) and c[0].type in ("NET", "CLASS"):
        return c[0]
    if c[0].type == "DOT_FREE":
        return Step(str(c[1]), (), spanned(c[0], c[1]))
    return Index(c[1], (), spanned(c[0], c[2]))


def step(c: Children) -> Step:
    return Step(str(c[1]), (), spanned(c[0], c[1]))


def subclasses(c: Children) -> Token:
    return cast(Token, c[0])


def predicates(c: Children) -> TupleNode:
    return TupleNode(tuple(parts(c)), spanned(c[0], c[-1]))  # carries the predicates to `path`


def predicate(c: Children) -> Predicate:
    span = spanned(c[0], c[-1])
    if len(c) == 1:
        return Predicate(str(c[0]), None, None, span)
    if len(c) == 2:
        return Predicate(str(c[1]), "!", None, span)
    operator = "=" if c[1] == "==" else str(c[1])
    return Predicate(str(c[0]), operator, c[2], span)  # type: ignore[arg-type]


def path(c: Children) -> Path:
    root, suffixes = c[0], c[1:]
    span = spanned(root, c[-1])
    if isinstance(root, Token) and root.type == "NET":
        return Path("net", _steps([], suffixes), None, span)
    if not isinstance(root, Token):
        return Path(None, _steps([root], suffixes), None, span)
    pattern, rest = _class_pattern(root, suffixes)
    return Path(pattern, _steps([], rest), None, span)


def _class_pattern(root: Token, suffixes: Children) -> tuple[ClassPattern, Children]:
    """Return the class that a path begins with, and the suffixes behind it.

    Its name ends at the first segment that looks like a class, or else at the first.
    """
    segments: Children = [root, *takewhile(lambda suffix: isinstance(suffix, Step), suffixes)]
    names = [str(root), *(step.name for step in segments[1:])]
    ends = next((i for i, name in enumerate(names) if _is_class(name, suffixes[i : i + 1])), 0)
    marks = list(takewhile(lambda suffix: isinstance(suffix, TupleNode | Token), suffixes[ends:]))
    checks = tuple(check for mark in marks if isinstance(mark, TupleNode) for check in mark.items)
    name = ".".join(names[: ends + 1])
    span = spanned(root, marks[-1] if marks else segments[ends])
    if "**" in name:
        report("bad-class-glob", f"`{name}` is not a class", span, "any class is `*`")
    with_subclasses = any(isinstance(mark, Token) for mark in marks)
    return ClassPattern(name, with_subclasses, cast(Any, checks), span), suffixes[ends + len(marks) :]


def _is_class(name: str, following: Children) -> bool:
    """Whether a segment looks like a class: capitalised, a glob, or with `+` or `(...)` behind it."""
    marked = any(isinstance(f, TupleNode) or (isinstance(f, Token) and f.type == "PLUS_GLUED") for f in following)
    return "*" in name or name.lstrip("_")[:1].isupper() or marked


def index(c: Children) -> Index:
    return Index(c[1], (), spanned(c[0], c[2]))


def items(c: Children) -> tuple[Any, ...]:
    return tuple(parts(c))


def slice_(c: Children) -> Slice:
    bounds: list[Expr | None] = [None, None, None]
    place = 0
    for child in c:
        if isinstance(child, Token):
            place += 1
        else:
            bounds[place] = child
    start, stop, step = bounds
    return Slice(start, stop, step, spanned(c[0], c[-1]))


def every(c: Children) -> Every:
    return Every(spanned(c[0], c[0]))


def ellipsis(c: Children) -> Ellipsis:
    return Ellipsis(spanned(c[0], c[0]))


def _steps(first: Children, suffixes: Children) -> tuple[Any, ...]:
    """The steps of a path, predicates joined to the step they follow."""
    steps = list(first)
    for suffix in suffixes:
        if isinstance(suffix, TupleNode):
            if not steps:
                hint = "`net.**(...)` and `*.*(...)` take parameters by what they are"
                report("bad-predicate", "`net` takes no condition", suffix.span, hint)
            else:
                steps[-1] = replace(steps[-1], predicates=(*steps[-1].predicates, *suffix.items))
        elif isinstance(suffix, Token):
            report("bad-plus", "`+` stands after a class name only", spanned(suffix, suffix))
        else:
            steps.append(suffix)
    return tuple(steps)
