"""Statements and blocks, from the rules of the grammar that are called as these functions."""

from __future__ import annotations

from typing import cast

from lark import Token

from initdsl.language.syntax.literals import unescape
from initdsl.language.syntax.nodes import Assign, Block, Copy, Default, Expect, Keep, Let, Tie, Use

from .children import Children, Statements, parts, report, spanned


def start(c: Children) -> Statements:
    return body_add(c)


def body_empty(c: Children) -> Statements:
    return Statements()


def body_end(c: Children) -> Statements:
    return cast(Statements, c[0])


def body_add(c: Children) -> Statements:
    body = cast(Statements, c[0])
    body.extend(child for child in c[1:] if not isinstance(child, Token))
    return body


def block(c: Children) -> Block:
    targets, _, body, *rest = c
    body.extend(parts(rest))
    return Block(targets, tuple(body), spanned(targets, c[-1]))


def assign(c: Children) -> Assign:
    targets, operator, value = c
    return Assign(targets, str(operator), value, spanned(targets, value), spanned(operator, operator))  # type: ignore[arg-type]


def tie(c: Children) -> Tie:
    return Tie(tuple(c[1:]), spanned(c[0], c[-1]))


def copy(c: Children) -> Copy:
    return Copy(tuple(c[1:]), spanned(c[0], c[-1]))


def keep(c: Children) -> Keep:
    return Keep(c[1], spanned(c[0], c[1]))


def default(c: Children) -> Default:
    return Default(c[1], spanned(c[0], c[1]))


def let(c: Children) -> Let:
    return Let(str(c[1]), c[3], spanned(c[0], c[3]), spanned(c[1], c[1]))


def expect_between(c: Children) -> Expect:
    if c[2] == "shape":
        where = spanned(c[2], c[-1])
        report("bad-expectation", "a shape lies in no range", where, "as in `shape = (4, 3)`")
    return Expect(str(c[2]), (c[1],), "in", (c[5], c[7]), spanned(c[0], c[-1]), spanned(c[2], c[2]))  # type: ignore[arg-type]


def expect_compared(c: Children) -> Expect:
    operator = "=" if c[3] == "==" else str(c[3])
    if c[2] == "shape" and operator not in ("=", "!="):
        where = spanned(c[3], c[3])
        report("bad-expectation", "a shape is equal to another or not", where, "as in `shape = (4, 3)`")
    return Expect(str(c[2]), (c[1],), operator, (c[4],), spanned(c[0], c[4]), spanned(c[2], c[2]))  # type: ignore[arg-type]


def expect_state(c: Children) -> Expect:
    return Expect(str(c[2]), (c[1],), None, (), spanned(c[0], c[2]), spanned(c[2], c[2]))  # type: ignore[arg-type]


def expect_tied(c: Children) -> Expect:
    return Expect("tied", tuple(c[2:]), None, (), spanned(c[0], c[-1]), spanned(c[1], c[1]))


def use(c: Children) -> Use:
    return Use(unescape(c[1]), None, spanned(c[0], c[1]), spanned(c[1], c[1]))
