"""A file as entries: one a statement, block, comment or blank line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from initdsl.language.syntax.parse import ParseCache, Unit
from initdsl.text.wording import cell_width

from .lines import CONTINUATION, INDENT, WIDTH, Lines
from .pieces import NO_COMMENTS, OPERATORS, Comments, Grouper, Node, Piece, comments_behind, flat_text, leading_width

__all__ = ["Entry", "LaidOut", "Reader"]


class LaidOut:
    """What is remembered of the text that was laid out last, so that one that differs a little takes little time.

    What it is used for gives the very result without it. Not to be shared between threads.
    """

    def __init__(self) -> None:
        self.before, self.after = ParseCache(), ParseCache()
        self.layouts: dict[tuple[str, int], _Layout] = {}
        self.equal: set[tuple[str, str]] = set()  # statements found to mean the same


# ---- entries: what a line, or the lines of one statement, become


@dataclass
class Entry:
    """A comment, a statement, or the first or last line of a block, from `start` to `end` of the source."""

    kind: Literal["comment", "statement", "opening", "closing"]
    start: int
    end: int
    depth: int
    lines: list[str]
    blank: bool = False  # a blank line before it
    comment: str | None = None  # beside its last line
    distance: int = 2  # of that comment
    # of a statement on one line: its keyword, and the parts before, of and after its operator
    parts: tuple[str, str, str, str] | None = None
    inline: bool = False  # the end of a block that was written in one line

    @property
    def single(self) -> bool:
        return self.kind == "statement" and len(self.lines) == 1

    def text(self) -> str:
        return "\n".join(self.lines) + (" " * self.distance + self.comment if self.comment else "")


COMMENT = re.compile(r"#[^\n]*")


class Reader:
    """A text that parses, to entries."""

    def __init__(self, text: str, known: LaidOut):
        self.text = text
        self.known = known
        self.layouts: dict[tuple[str, int], _Layout] = {}
        self.found: list[Entry] = []
        self.blocks: list[Entry] = []

    def entries(self, units: list[Unit]) -> list[Entry]:
        end = 0
        for unit in units:
            self.gap(end, unit.start)
            if unit.step < 0:
                self.closing(unit)
            elif unit.step > 0:
                self.opening(unit)
            else:
                self.statement(unit)
            end = unit.end
        self.gap(end, len(self.text))
        self.known.layouts = self.layouts
        return self.found

    def layout(self, unit: Unit) -> _Layout:
        """The lines of a unit, as they were laid out before if it was there."""
        key = self.text[unit.start : unit.end], len(self.blocks)
        made = self.known.layouts.get(key) or self.layouts.get(key) or _layout(self.text, unit, len(self.blocks))
        self.layouts[key] = made
        return made

    def gap(self, start: int, end: int) -> None:
        """The comments between two statements: beside the one before them, or lines of their own."""
        for match in COMMENT.finditer(self.text, start, end):
            text = match[0].rstrip()
            entry = Entry("comment", match.start(), match.start() + len(text), len(self.blocks), [text])
            last = self.found[-1] if self.found else entry
            if last.kind == "comment" or last.comment or "\n" in self.text[last.end : entry.start]:
                self.add(entry)
                continue
            if last.inline:  # it speaks of what that line's block holds
                last = next(e for e in reversed(self.found) if not e.inline)
            last.comment, last.end = text, entry.end

    def add(self, entry: Entry) -> None:
        if self.found:
            last = self.found[-1]
            first_or_last = last.depth < entry.depth or entry.kind == "closing"
            entry.blank = not first_or_last and self.text.count("\n", last.end, entry.start) > 1
        entry.lines = [" " * (entry.depth * INDENT) + line if line else line for line in entry.lines]
        self.found.append(entry)

    def statement(self, unit: Unit) -> None:
        layout = self.layout(unit)
        depth = len(self.blocks)
        self.add(Entry("statement", unit.start, unit.end, depth, [*layout.lines], parts=layout.parts))

    def opening(self, unit: Unit) -> None:
        layout = self.layout(unit)
        depth = len(self.blocks)
        entry = Entry("opening", unit.start, unit.end, depth, [*layout.lines])
        self.add(entry)
        self.blocks.append(entry)
        # what stood before the brace now stands behind it
        comments = layout.comments
        if comments.beside:
            entry.comment = comments.texts[0]
        for text in comments.texts[comments.beside :]:
            self.add(Entry("comment", entry.start, entry.end, depth + 1, [text]))

    def closing(self, brace: Unit) -> None:
        opening = self.blocks.pop()
        start, end = brace.start, brace.end
        if opening is self.found[-1] and opening.comment is None:
            opening.lines[-1] += "}"
            opening.end = end
            return
        inline = opening is not self.found[-1] and "\n" not in self.text[opening.start : end]
        self.add(Entry("closing", start, end, len(self.blocks), ["}"], inline=inline))


@dataclass(frozen=True)
class _Layout:
    """The lines of a statement or a block's head, not yet indented; the comments before the brace of a head."""

    lines: tuple[str, ...]
    parts: tuple[str, str, str, str] | None
    comments: Comments


def _layout(text: str, unit: Unit, depth: int) -> _Layout:
    """Lay a unit out by itself, inside so many blocks."""
    # its tokens may have been read at another place
    by = unit.start - (unit.tokens[0].start_pos or 0)
    ends = [(token.end_pos or 0) + by for token in unit.tokens]
    starts = [*((token.start_pos or 0) + by for token in unit.tokens[1:]), unit.end - (unit.step > 0)]
    pieces = [
        Piece(token, _between(text[start:end])) for token, start, end in zip(unit.tokens, ends, starts, strict=True)
    ]
    nodes = Grouper(pieces).nodes()
    lines = _statement(nodes, WIDTH - depth * INDENT, 2 if unit.step else 0)
    if unit.step:
        return _Layout((*lines[:-1], f"{lines[-1]} {{"), None, comments_behind(nodes))
    place, parts = _operator(nodes), None
    if place < len(nodes) and len(lines) == 1:
        keyword = "let" if pieces[0].kind == "LET" else ""
        parts = keyword, flat_text(nodes[:place]), nodes[place].flat[1:], flat_text(nodes[place + 1 :])
    return _Layout(tuple(lines), parts, NO_COMMENTS)


def _between(gap: str) -> Comments:
    """The comments of a gap inside a statement."""
    texts = tuple(match[0].rstrip() for match in COMMENT.finditer(gap)) if "#" in gap else ()
    return Comments(texts, bool(texts) and "\n" not in gap[: gap.index("#")])


def _operator(nodes: Sequence[Node]) -> int:
    """Where the operator of a statement is; its length if it has none."""
    places = (i for i, node in enumerate(nodes) if isinstance(node, Piece) and node.kind in OPERATORS)
    return next(places, len(nodes))


def _statement(nodes: list[Node], width: int, after: int) -> list[str]:
    """The lines of a statement, `after` cells to follow. Its targets take a line each where they don't fit one."""
    operator = _operator(nodes)
    commas = [i for i in range(operator) if isinstance(node := nodes[i], Piece) and node.kind == "COMMA"]
    head = cell_width(flat_text(nodes[:operator])) + leading_width(nodes[operator:], after)
    writer = Lines(width)
    start = 0
    if head > width or any(nodes[i].comments for i in commas):
        for comma in commas:
            writer.nodes(nodes[start : comma + 1], 0)
            writer.comments(nodes[comma].comments, CONTINUATION)
            writer.begin(CONTINUATION)
            start = comma + 1
    writer.nodes(nodes[start:], after)
    writer.finish()
    return writer.done
