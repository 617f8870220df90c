"""The children of a rule: the tokens and nodes that the parser hands to a rule's function."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

from lark import Token

from initdsl.language.syntax.nodes import Rule
from initdsl.language.syntax.state import reading
from initdsl.text.source import Span

__all__ = ["Children", "Statements", "parts", "report", "spanned"]


Children = list[Any]


class Statements(list[Rule]):
    """The statements of a body so far; its type marks a place where parsing can go on after a mistake."""


def spanned(first: Any, last: Any) -> Span:
    """Return the span from the start of a token or node to the end of another."""
    start = first.start_pos if isinstance(first, Token) else first.span.start
    end = last.end_pos if isinstance(last, Token) else last.span.end
    return Span(cast(int, start), cast(int, end))


def parts(children: Iterable[Any]) -> list[Any]:
    """Return the children that are not punctuation."""
    return [child for child in children if not isinstance(child, Token)]


def report(name: str, message: str, span: Span, hint: str | None = None) -> None:
    """Add a mistake that the grammar can't see to what is being read."""
    reading.state.report(name, message, span, hint)
