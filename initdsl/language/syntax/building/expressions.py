"""Expressions, from the rules of the grammar that are called as these functions (`list_` is `list`)."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from lark import Token

from initdsl.language.syntax.literals import FLOAT, INTEGER, LARGEST_INT, elements, unescape
from initdsl.language.syntax.nodes import (
    Argument,
    Binary,
    Call,
    Expr,
    Length,
    ListNode,
    Mapping,
    Member,
    Name,
    Number,
    String,
    Subscript,
    TupleNode,
    Unary,
    Word,
)
from initdsl.language.syntax.state import reading
from initdsl.text.source import Span
from initdsl.text.wording import shortened

from .children import Children, parts, report, spanned


def binary(c: Children) -> Binary:
    return Binary(str(c[1]), c[0], c[2], spanned(c[0], c[2]))  # type: ignore[arg-type]


def unary(c: Children) -> Unary:
    return Unary(str(c[0]), c[1], spanned(c[0], c[1]))  # type: ignore[arg-type]


def subscript(c: Children) -> Subscript:
    return Subscript(c[0], c[2], spanned(c[0], c[3]))


def member(c: Children) -> Member:
    base = c[0]
    while isinstance(base, Member | Subscript):
        base = base.base
    if not (isinstance(base, Name) and base.name == "net"):
        hint = f"an attribute of the target's module is its name alone, `{c[2]}`; of another, a path from `net`"
        if isinstance(base, Name) and base.name in ("torch", "math", "np", "self", "nn", "module"):
            hint = f"the name alone will do: `{c[2]}`"
            if str(c[2]) in ("nn", "init", "random", "functional"):  # more follows: `nn.init.normal_(...)`
                hint = "functions here have plain names: `normal(0, 1)`"
        report(
            "no-attributes",
            f"`.{c[2]}`: an expression has no attributes, only paths from `net`",
            spanned(c[1], c[2]),
            hint,
        )
    return Member(c[0], str(c[2]), spanned(c[0], c[2]))


def call(c: Children) -> Call:
    return Call(str(c[0]), tuple(parts(c)), spanned(c[0], c[-1]), spanned(c[0], c[0]))


def length(c: Children) -> Length:
    return Length(c[2], spanned(c[0], c[3]))


def argument(c: Children) -> Argument:
    if len(c) == 1:
        return Argument(None, c[0], c[0].span)
    return Argument(str(c[0]), c[2], spanned(c[0], c[2]))


def number(c: Children) -> Number:
    token = c[0]
    span, text = spanned(token, token), str(token)
    value: int | float = 0
    if INTEGER.match(text):
        value = int(text.replace("_", "")) if len(text) < 40 else LARGEST_INT + 1
        if value > LARGEST_INT:
            report("number-too-large", "this integer needs more than 64 bits", span)
            value = 0
    elif FLOAT.match(text) and re.search(r"[.eE]", text) and re.search(r"\d", text):
        value = float(text.replace("_", ""))
        if value == float("inf"):
            message = f"`{shortened(text)}` is too large for a float"
            report("number-too-large", message, span, "infinity is written `inf`")
            value = 0.0
    else:
        hint = "numbers are decimal, as `1`, `0.5`, `1e-3` or `1_000`"
        if text[:1] == "0" and text.isdigit():
            hint = "a number has no leading zeros"
        report("bad-number", f"`{shortened(text)}` is not a number", span, hint)
    return Number(value, span)


def string(c: Children) -> String:
    return String(unescape(c[0]), spanned(c[0], c[0]))


def constant(c: Children) -> Word:
    return Word(str(c[0]), spanned(c[0], c[0]))  # type: ignore[arg-type]


def name(c: Children) -> Name:
    return Name(str(c[0]), spanned(c[0], c[0]))


def parenthesis(c: Children) -> Any:
    return replace(c[1], span=spanned(c[0], c[2]))


def tuple_(c: Children) -> TupleNode:
    return TupleNode(tuple(parts(c)), spanned(c[0], c[-1]))


def list_(c: Children) -> ListNode:
    literal = ListNode(tuple(parts(c)), spanned(c[0], c[-1]))
    limit = reading.state.limits.literal_elements
    if elements(literal, limit) > limit:
        _too_large(literal.span)
        return ListNode((), literal.span)
    return literal


def _too_large(span: Span) -> None:
    limit = reading.state.limits.literal_elements
    report("literal-too-large", f"a literal has at most {limit:,} elements", span, "use `load(...)`")


def mapping(c: Children) -> Mapping:
    pairs = [child for child in c if not isinstance(child, Token)]
    if len(pairs) > reading.state.limits.literal_elements:
        _too_large(spanned(c[0], c[-1]))
        pairs = []
    return Mapping(tuple(k for k, _ in pairs), tuple(v for _, v in pairs), spanned(c[0], c[-1]))


def pair(c: Children) -> tuple[str, Expr]:
    return (unescape(c[0]), c[2])
