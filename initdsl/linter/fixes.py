"""Fixes: what a lint proposes to change in the text, and how several of them are applied."""

from __future__ import annotations

import re
from bisect import bisect_left, insort
from collections.abc import Iterable

from initdsl.language.syntax.nodes import Node
from initdsl.text.diagnostic import Edit, Fix
from initdsl.text.source import Source, Span

from .statements import Placed

__all__ = ["applied", "declaration", "insertion", "removal", "replacement"]


COMMENT = re.compile(r"[ \t]*(?:#[^\n]*)?")


NEWLINE = re.compile(r"\r?\n")


# ---- what a lint proposes


def replacement(place: Node | Span, text: str, title: str, safe: bool) -> Fix:
    """Return the fix that writes `text` in place of a node or span; a safe one leaves the plan as it is."""
    return Fix(title, (Edit(place if isinstance(place, Span) else place.span, text),), safe)


def insertion(offset: int, text: str) -> Edit:
    """Return the edit that writes `text` before the character at `offset`."""
    return Edit(Span(offset, offset), text)


def declaration(placed: Placed, name: str, value: str) -> Edit:
    """Return the edit that declares `let name = value` above a statement, and above the blocks it stands in.

    `value` is text: that of a node, or a number. `lets.unused_name` finds a name that nothing else has.
    """
    outermost = placed.blocks[0] if placed.blocks else placed.rule
    text, start = placed.source.text, outermost.span.start
    line_start = text.rfind("\n", 0, start) + 1
    if text[line_start:start].strip(" \t"):
        return insertion(start, f"let {name} = {value}; ")
    newline = "\r\n" if text[:line_start].endswith("\r\n") else "\n"
    return insertion(start, f"let {name} = {value}{newline}{text[line_start:start]}")


def removal(source: Source, span: Span) -> Edit:
    """Return the edit that takes a statement out.

    It goes with its line, and the comment on that, where it stands alone; else with the `;` beside it.
    """
    text = source.text
    start, end = span
    while start and text[start - 1] in " \t":
        start -= 1
    after = COMMENT.match(text, end)
    assert after is not None
    begins_line = start == 0 or text[start - 1] == "\n"
    if begins_line and (after.end() == len(text) or text[after.end()] in "\r\n"):
        newline = NEWLINE.match(text, after.end())
        return Edit(Span(start, newline.end() if newline else after.end()), "")
    following = re.compile(r"[ \t]*;[ \t]*").match(text, end)
    if following is not None:
        return Edit(Span(span.start, following.end()), "")
    if start and text[start - 1] == ";":
        return Edit(Span(start - 1, end), "")
    return Edit(span, "")


# ---- several of them applied


def applied(text: str, fixes: Iterable[Fix]) -> tuple[str, list[Fix]]:
    """Return the text with as many fixes as don't touch each other, and which these are."""
    taken: list[Fix] = []
    spans: list[Span] = []
    edits: list[Edit] = []
    for fix in sorted(dict.fromkeys(fixes), key=lambda fix: min(edit.span for edit in fix.edits)):
        if not any(_is_touched(edit.span, spans) for edit in fix.edits):
            taken.append(fix)
            edits += fix.edits
            for edit in fix.edits:
                insort(spans, edit.span)
    parts, end = [], 0
    for edit in sorted(edits, key=lambda edit: edit.span):
        parts += [text[end : edit.span.start], edit.text]
        end = edit.span.end
    return "".join([*parts, text[end:]]), taken


def _is_touched(span: Span, taken: list[Span]) -> bool:
    """Tell whether a span meets or borders one of the taken, which are in order and apart."""
    place = bisect_left(taken, span)
    return any(span.start <= other.end and other.start <= span.end for other in taken[max(0, place - 1) : place + 1])
