"""Changes to the text of a file: taking a statement out, and applying the edits of fixes."""

from __future__ import annotations

import re
from bisect import bisect_left, insort
from collections.abc import Iterable

from initdsl.text.diagnostic import Edit, Fix
from initdsl.text.source import Source, Span

__all__ = ["applied", "removal"]


COMMENT = re.compile(r"[ \t]*(?:#[^\n]*)?")


def removal(source: Source, span: Span) -> Edit:
    """The edit that takes a statement out: with its line (and the comment on it) where it stands alone, else with
    the `;` beside it."""
    text = source.text
    start, end = span
    while start and text[start - 1] in " \t":
        start -= 1
    after = COMMENT.match(text, end)
    assert after is not None
    begins_line = start == 0 or text[start - 1] == "\n"
    if begins_line and (after.end() == len(text) or text[after.end()] in "\r\n"):
        end = after.end()
        newline = re.compile(r"\r?\n").match(text, end)
        return Edit(Span(start, newline.end() if newline else end), "")
    following = re.compile(r"[ \t]*;[ \t]*").match(text, span.end)
    if following is not None:
        return Edit(Span(span.start, following.end()), "")
    if start and text[start - 1] == ";":
        start -= 1
        return Edit(Span(start, span.end), "")
    return Edit(span, "")


def applied(text: str, fixes: Iterable[Fix]) -> tuple[str, list[Fix]]:
    """The text with as many fixes as don't touch each other, and which these are."""
    taken: list[Fix] = []
    spans: list[Span] = []
    edits: list[Edit] = []
    for fix in sorted(dict.fromkeys(fixes), key=lambda f: min(e.span for e in f.edits)):
        if not any(_touched(edit.span, spans) for edit in fix.edits):
            taken.append(fix)
            edits += fix.edits
            for edit in fix.edits:
                insort(spans, edit.span)
    parts, at = [], 0
    for edit in sorted(edits, key=lambda e: e.span):
        parts += [text[at : edit.span.start], edit.text]
        at = edit.span.end
    return "".join([*parts, text[at:]]), taken


def _touched(span: Span, taken: list[Span]) -> bool:
    """Whether a span meets or borders one of the taken, which are in order and apart."""
    at = bisect_left(taken, span)
    return any(span.start <= other.end and other.start <= span.end for other in taken[max(0, at - 1) : at + 1])
