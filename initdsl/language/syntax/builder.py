"""The parse tree to the values of `nodes`, by a callback for every rule of the grammar."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, cast

from lark import Token, Transformer

from initdsl.text.source import Span
from initdsl.text.wording import shortened

from .literals import FLOAT, INTEGER, LARGEST_INT, elements, unescape
from .nodes import (
    Argument,
    Assign,
    Binary,
    Block,
    Call,
    ClassPattern,
    Copy,
    Default,
    Ellipsis,
    Every,
    Expect,
    Expr,
    Index,
    Keep,
    Length,
    Let,
    ListNode,
    Mapping,
    Maybe,
    Member,
    Name,
    Number,
    Path,
    Predicate,
    Regex,
    Rule,
    Selector,
    Slice,
    Step,
    String,
    Subscript,
    Tie,
    TupleNode,
    Unary,
    Union_,
    Use,
    View,
    Within,
    Word,
)
from .state import reading

__all__ = ["Builder", "Statements", "spanned"]


class Statements(list[Rule]):
    """The statements of a body so far; its type marks a place where parsing can go on after a mistake."""


def spanned(first: Any, last: Any) -> Span:
    return Span(_start(first), _end(last))


def _start(value: Any) -> int:
    return cast(int, value.start_pos if isinstance(value, Token) else value.span.start)


def _end(value: Any) -> int:
    return cast(int, value.end_pos if isinstance(value, Token) else value.span.end)


def _values(children: Iterable[Any]) -> list[Any]:
    """The children that are not punctuation."""
    return [child for child in children if not isinstance(child, Token)]


# the callbacks `list` and `tuple` hide the types of those names from what follows them in the class
Children = list[Any]


Pair = tuple[str, Any]


class Builder(Transformer[Token, Any]):
    """Grammar rules to nodes. Mistakes the grammar can't see are reported to the session."""

    # ---- statements

    def start(self, c: list[Any]) -> Statements:
        return self.body_add(c)

    def body_empty(self, c: list[Any]) -> Statements:
        return Statements()

    def body_end(self, c: list[Any]) -> Statements:
        return cast(Statements, c[0])

    def body_add(self, c: list[Any]) -> Statements:
        body = cast(Statements, c[0])
        body.extend(child for child in c[1:] if not isinstance(child, Token))
        return body

    def block(self, c: list[Any]) -> Block:
        targets, _, body, *rest = c
        body.extend(_values(rest))
        return Block(targets, tuple(body), spanned(targets, c[-1]))

    def assign(self, c: list[Any]) -> Assign:
        targets, operator, value = c
        return Assign(targets, str(operator), value, spanned(targets, value), spanned(operator, operator))  # type: ignore[arg-type]

    def tie(self, c: list[Any]) -> Tie:
        return Tie(tuple(c[1:]), spanned(c[0], c[-1]))

    def copy(self, c: list[Any]) -> Copy:
        return Copy(tuple(c[1:]), spanned(c[0], c[-1]))

    def keep(self, c: list[Any]) -> Keep:
        return Keep(c[1], spanned(c[0], c[1]))

    def default(self, c: list[Any]) -> Default:
        return Default(c[1], spanned(c[0], c[1]))

    def let(self, c: list[Any]) -> Let:
        return Let(str(c[1]), c[3], spanned(c[0], c[3]), spanned(c[1], c[1]))

    def expect_between(self, c: list[Any]) -> Expect:
        if c[2] == "shape":
            where = spanned(c[2], c[-1])
            reading.state.report("bad-expectation", "a shape lies in no range", where, "as in `shape = (4, 3)`")
        return Expect(str(c[2]), (c[1],), "in", (c[5], c[7]), spanned(c[0], c[-1]), spanned(c[2], c[2]))  # type: ignore[arg-type]

    def expect_compared(self, c: list[Any]) -> Expect:
        operator = "=" if c[3] == "==" else str(c[3])
        if c[2] == "shape" and operator not in ("=", "!="):
            where = spanned(c[3], c[3])
            reading.state.report(
                "bad-expectation", "a shape is equal to another or not", where, "as in `shape = (4, 3)`"
            )
        return Expect(str(c[2]), (c[1],), operator, (c[4],), spanned(c[0], c[4]), spanned(c[2], c[2]))  # type: ignore[arg-type]

    def expect_state(self, c: list[Any]) -> Expect:
        return Expect(str(c[2]), (c[1],), None, (), spanned(c[0], c[2]), spanned(c[2], c[2]))  # type: ignore[arg-type]

    def expect_tied(self, c: list[Any]) -> Expect:
        return Expect("tied", tuple(c[2:]), None, (), spanned(c[0], c[-1]), spanned(c[1], c[1]))

    def use(self, c: list[Any]) -> Use:
        return Use(unescape(c[1]), None, spanned(c[0], c[1]), spanned(c[1], c[1]))

    # ---- selectors

    def targets(self, c: list[Any]) -> Selector:
        members = tuple(_values(c))
        if len(members) == 1:
            return cast(Selector, members[0])
        span = spanned(members[0], members[-1])
        for member in members:
            inner = member.selector if isinstance(member, Maybe) else member
            if isinstance(inner, Within):
                reading.state.report(
                    "ambiguous-in",
                    "beside a `,` it is unclear what `in` belongs to",
                    member.span,
                    "write `(A, B) in T` or `A, (B in T)`",
                )
                break
        return Union_(members, span)

    def optional(self, c: list[Any]) -> Selector:
        return Maybe(c[0], spanned(c[0], c[1])) if c[1:] else cast(Selector, c[0])

    def within(self, c: list[Any]) -> Within:
        return Within(c[0], c[-1], c[1].type == "NOT", spanned(c[0], c[-1]))

    def group(self, c: list[Any]) -> Union_:
        inner = c[1]
        members = inner.members if isinstance(inner, Union_) and not inner.grouped else (inner,)
        return Union_(members, spanned(c[0], c[2]), True)

    def regex(self, c: list[Any]) -> Regex:
        return Regex(c[0][1:-1].replace("\\/", "/"), spanned(c[0], c[0]))

    def view(self, c: list[Any]) -> Path:
        path, _, shape, *index = c
        view = View(shape.items, index[0] if index else None, spanned(shape, c[-1]))
        return cast(Path, replace(path, view=view, span=spanned(path, c[-1])))

    def shape(self, c: list[Any]) -> TupleNode:
        return TupleNode(tuple(_values(c)), spanned(c[0], c[-1]))

    def head(self, c: list[Any]) -> Any:
        if isinstance(c[0], Token) and c[0].type in ("NET", "CLASS"):
            return c[0]
        if c[0].type == "DOT_FREE":
            return Step(str(c[1]), (), spanned(c[0], c[1]))
        return Index(c[1], (), spanned(c[0], c[2]))

    def step(self, c: list[Any]) -> Step:
        return Step(str(c[1]), (), spanned(c[0], c[1]))

    def subclasses(self, c: list[Any]) -> Token:
        return cast(Token, c[0])

    def predicates(self, c: list[Any]) -> TupleNode:
        return TupleNode(tuple(_values(c)), spanned(c[0], c[-1]))  # carries the predicates to `path`

    def predicate(self, c: list[Any]) -> Predicate:
        span = spanned(c[0], c[-1])
        if len(c) == 1:
            return Predicate(str(c[0]), None, None, span)
        if len(c) == 2:
            return Predicate(str(c[1]), "!", None, span)
        operator = "=" if c[1] == "==" else str(c[1])
        return Predicate(str(c[0]), operator, c[2], span)  # type: ignore[arg-type]

    def path(self, c: list[Any]) -> Path:
        head, suffixes = c[0], c[1:]
        span = spanned(head, c[-1])
        if isinstance(head, Token) and head.type == "NET":
            return Path("net", _steps([], suffixes), None, span)
        if not isinstance(head, Token):
            return Path(None, _steps([head], suffixes), None, span)
        # the class name ends at the first segment that looks like one, else at the first
        leading = _leading_steps(suffixes)
        segments: list[Any] = [head, *leading]
        names = [str(head), *(step.name for step in leading)]
        ends = 0
        for i, name in enumerate(names):
            following = suffixes[i] if i < len(suffixes) else None
            marked = isinstance(following, TupleNode) or (
                isinstance(following, Token) and following.type == "PLUS_GLUED"
            )
            if "*" in name or name.lstrip("_")[:1].isupper() or marked:
                ends = i
                break
        rest = suffixes[ends:]
        subclasses, predicates = False, ()
        last: Any = segments[ends]
        while rest and (isinstance(rest[0], TupleNode) or isinstance(rest[0], Token)):
            last = rest.pop(0)
            if isinstance(last, TupleNode):
                predicates += last.items  # type: ignore[assignment]
            else:
                subclasses = True
        name = ".".join(names[: ends + 1])
        if "**" in name:
            reading.state.report("bad-class-glob", f"`{name}` is not a class", spanned(head, last), "any class is `*`")
        pattern = ClassPattern(name, subclasses, cast(Any, predicates), spanned(head, last))
        return Path(pattern, _steps([], rest), None, span)

    def index(self, c: list[Any]) -> Index:
        return Index(c[1], (), spanned(c[0], c[2]))

    def items(self, c: list[Any]) -> tuple[Any, ...]:
        return tuple(_values(c))

    def slice(self, c: list[Any]) -> Slice:
        parts: list[Expr | None] = [None, None, None]
        place = 0
        for child in c:
            if isinstance(child, Token):
                place += 1
            else:
                parts[place] = child
        return Slice(parts[0], parts[1], parts[2], spanned(c[0], c[-1]))

    def every(self, c: list[Any]) -> Every:
        return Every(spanned(c[0], c[0]))

    def ellipsis(self, c: list[Any]) -> Ellipsis:
        return Ellipsis(spanned(c[0], c[0]))

    # ---- expressions

    def binary(self, c: list[Any]) -> Binary:
        return Binary(str(c[1]), c[0], c[2], spanned(c[0], c[2]))  # type: ignore[arg-type]

    def unary(self, c: list[Any]) -> Unary:
        return Unary(str(c[0]), c[1], spanned(c[0], c[1]))  # type: ignore[arg-type]

    def subscript(self, c: list[Any]) -> Subscript:
        return Subscript(c[0], c[2], spanned(c[0], c[3]))

    def member(self, c: list[Any]) -> Member:
        base = c[0]
        while isinstance(base, Member | Subscript):
            base = base.base
        if not (isinstance(base, Name) and base.name == "net"):
            alone = isinstance(base, Name) and base.name in ("torch", "math", "np", "self", "nn", "module")
            hint = f"the name alone will do: `{c[2]}`" if alone else (
                f"an attribute of the target's module is its name alone, `{c[2]}`; of another, a path from `net`"
            )  # fmt: skip
            reading.state.report(
                "no-attributes",
                f"`.{c[2]}`: an expression has no attributes, only paths from `net`",
                spanned(c[1], c[2]),
                hint,
            )
        return Member(c[0], str(c[2]), spanned(c[0], c[2]))

    def call(self, c: list[Any]) -> Call:
        return Call(str(c[0]), tuple(_values(c)), spanned(c[0], c[-1]), spanned(c[0], c[0]))

    def length(self, c: list[Any]) -> Length:
        return Length(c[2], spanned(c[0], c[3]))

    def argument(self, c: list[Any]) -> Argument:
        if len(c) == 1:
            return Argument(None, c[0], c[0].span)
        return Argument(str(c[0]), c[2], spanned(c[0], c[2]))

    def number(self, c: list[Any]) -> Number:
        token = c[0]
        span, text = spanned(token, token), str(token)
        value: int | float = 0
        if INTEGER.match(text):
            value = int(text.replace("_", "")) if len(text) < 40 else LARGEST_INT + 1
            if value > LARGEST_INT:
                reading.state.report("number-too-large", "this integer needs more than 64 bits", span)
                value = 0
        elif FLOAT.match(text) and re.search(r"[.eE]", text) and re.search(r"\d", text):
            value = float(text.replace("_", ""))
            if value == float("inf"):
                reading.state.report(
                    "number-too-large",
                    f"`{shortened(text)}` is too large for a float",
                    span,
                    "infinity is written `inf`",
                )
                value = 0.0
        else:
            hint = (
                "a number has no leading zeros"
                if text[:1] == "0" and text.isdigit()
                else "numbers are decimal, as `1`, `0.5`, `1e-3` or `1_000`"
            )
            reading.state.report("bad-number", f"`{shortened(text)}` is not a number", span, hint)
        return Number(value, span)

    def string(self, c: list[Any]) -> String:
        return String(unescape(c[0]), spanned(c[0], c[0]))

    def constant(self, c: list[Any]) -> Word:
        return Word(str(c[0]), spanned(c[0], c[0]))  # type: ignore[arg-type]

    def name(self, c: list[Any]) -> Name:
        return Name(str(c[0]), spanned(c[0], c[0]))

    def parenthesis(self, c: list[Any]) -> Any:
        return replace(c[1], span=spanned(c[0], c[2]))

    def tuple(self, c: Children) -> TupleNode:
        return TupleNode(tuple(_values(c)), spanned(c[0], c[-1]))

    def list(self, c: Children) -> ListNode:
        literal = ListNode(tuple(_values(c)), spanned(c[0], c[-1]))
        limit = reading.state.limits.literal_elements
        if elements(literal, limit) > limit:
            self.too_large(literal.span)
            return ListNode((), literal.span)
        return literal

    def too_large(self, span: Span) -> None:
        limit = reading.state.limits.literal_elements
        reading.state.report("literal-too-large", f"a literal has at most {limit:,} elements", span, "use `load(...)`")

    def mapping(self, c: Children) -> Mapping:
        pairs = [child for child in c if not isinstance(child, Token)]
        if len(pairs) > reading.state.limits.literal_elements:
            self.too_large(spanned(c[0], c[-1]))
            pairs = []
        return Mapping(tuple(k for k, _ in pairs), tuple(v for _, v in pairs), spanned(c[0], c[-1]))

    def pair(self, c: Children) -> Pair:
        return (unescape(c[0]), c[2])


def _leading_steps(suffixes: list[Any]) -> list[Step]:
    found = []
    for suffix in suffixes:
        if not isinstance(suffix, Step):
            break
        found.append(suffix)
    return found


def _steps(first: list[Any], suffixes: list[Any]) -> tuple[Any, ...]:
    """The steps of a path, predicates joined to the step they follow."""
    steps = list(first)
    for suffix in suffixes:
        if isinstance(suffix, TupleNode):
            if not steps:
                reading.state.report("bad-predicate", "`net` takes no predicate", suffix.span)
            else:
                steps[-1] = replace(steps[-1], predicates=(*steps[-1].predicates, *suffix.items))
        elif isinstance(suffix, Token):
            reading.state.report("bad-plus", "`+` stands after a class name only", spanned(suffix, suffix))
        else:
            steps.append(suffix)
    return tuple(steps)
