"""A text as entries, each laid out for itself: statements, first and last lines of blocks, comments."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from initdsl.language.syntax.parse import ParseCache, Unit
from initdsl.text.wording import cell_width

from .lines import CONTINUATION, INDENT, WIDTH, Lines
from .pieces import NO_COMMENTS, OPERATORS, Comments, Node, Piece, comments_behind, flat_text, leading_width, nodes_of

__all__ = ["Entry", "LaidOut", "entries_of"]


class LaidOut:
    """A cache of the text that was laid out last, `LaidOut()`, so that one that differs a little takes little time.

    Results are the same with and without it. Not to be shared between threads.
    """

    def __init__(self) -> None:
        self.before, self.after = ParseCache(), ParseCache()
        self.layouts: dict[tuple[str, int], _Layout] = {}
        self.equal: set[tuple[str, str]] = set()  # texts of statements that mean the same


@dataclass
class Entry:
    """A comment, a statement, or the first or last line of a block: `Entry("statement", 0, 11, 0, ["A.w = 1"])`.

    It stands from `start` to `end` of the source, inside `depth` blocks.
    """

    kind: Literal["comment", "statement", "opening", "closing"]
    start: int
    end: int
    depth: int
    lines: list[str]
    blank: bool = False  # is there a blank line before it
    comment: str | None = None  # beside its last line
    distance: int = 2  # of that comment, in cells
    # of a statement on one line: "let" or "", its text up to the operator, the operator, and the text behind it
    parts: tuple[str, str, str, str] | None = None
    inline: bool = False  # is it the end of a block that was written in one line

    @property
    def single(self) -> bool:
        """Whether it is a statement on one line."""
        return self.kind == "statement" and len(self.lines) == 1

    def text(self) -> str:
        """Return its lines with the comment beside the last."""
        return "\n".join(self.lines) + (" " * self.distance + self.comment if self.comment else "")


COMMENT = re.compile(r"#[^\n]*")


def entries_of(text: str, units: list[Unit], cache: LaidOut) -> list[Entry]:
    """Return the entries of a text that parses to these units."""
    entries = _Entries(text, cache)
    end = 0
    for unit in units:
        entries.gap(end, unit.start)
        if unit.step < 0:
            entries.closing(unit)
        elif unit.step > 0:
            entries.opening(unit)
        else:
            entries.statement(unit)
        end = unit.end
    entries.gap(end, len(text))
    cache.layouts = entries.layouts  # those of this text alone: what is gone from it is forgotten
    return entries.entries


class _Entries:
    """The entries of a text so far, and the blocks that are open: `_Entries("A.w = 1", LaidOut())`."""

    def __init__(self, text: str, cache: LaidOut):
        self.text = text
        self.cache = cache
        self.layouts: dict[tuple[str, int], _Layout] = {}
        self.entries: list[Entry] = []
        self.blocks: list[Entry] = []  # their first lines

    def layout(self, unit: Unit) -> _Layout:
        """Return the lines of a unit, from the cache if its text was there at the same depth."""
        key = self.text[unit.start : unit.end], len(self.blocks)
        layout = self.cache.layouts.get(key) or self.layouts.get(key) or _layout(self.text, unit, len(self.blocks))
        self.layouts[key] = layout
        return layout

    def gap(self, start: int, end: int) -> None:
        """Add the comments between two units: beside the entry before them, or as entries of their own."""
        for match in COMMENT.finditer(self.text, start, end):
            text = match[0].rstrip()
            entry = Entry("comment", match.start(), match.start() + len(text), len(self.blocks), [text])
            last = self.entries[-1] if self.entries else entry
            if last.kind == "comment" or last.comment or "\n" in self.text[last.end : entry.start]:
                self.add(entry)
                continue
            if last.inline:  # of `A { .w = 1 }  # comment`: it speaks of the statement, not of the brace
                last = next(e for e in reversed(self.entries) if not e.inline)
            last.comment, last.end = text, entry.end

    def add(self, entry: Entry) -> None:
        """Add an entry, indented, after at most one blank line."""
        if self.entries:
            last = self.entries[-1]
            first_or_last = last.depth < entry.depth or entry.kind == "closing"
            entry.blank = not first_or_last and self.text.count("\n", last.end, entry.start) > 1
        entry.lines = [" " * (entry.depth * INDENT) + line if line else line for line in entry.lines]
        self.entries.append(entry)

    def statement(self, unit: Unit) -> None:
        """Add a statement."""
        layout = self.layout(unit)
        depth = len(self.blocks)
        self.add(Entry("statement", unit.start, unit.end, depth, [*layout.lines], parts=layout.parts))

    def opening(self, unit: Unit) -> None:
        """Add the first line of a block."""
        layout = self.layout(unit)
        depth = len(self.blocks)
        entry = Entry("opening", unit.start, unit.end, depth, [*layout.lines])
        self.add(entry)
        self.blocks.append(entry)
        # comments before the brace go behind it
        comments = layout.comments
        if comments.beside:
            entry.comment = comments.texts[0]
        for text in comments.texts[comments.beside :]:
            self.add(Entry("comment", entry.start, entry.end, depth + 1, [text]))

    def closing(self, brace: Unit) -> None:
        """Add the last line of a block; of an empty one the brace stands on its first."""
        opening = self.blocks.pop()
        start, end = brace.start, brace.end
        if opening is self.entries[-1] and opening.comment is None:
            opening.lines[-1] += "}"
            opening.end = end
            return
        inline = opening is not self.entries[-1] and "\n" not in self.text[opening.start : end]
        self.add(Entry("closing", start, end, len(self.blocks), ["}"], inline=inline))


@dataclass(frozen=True)
class _Layout:
    """A unit laid out by itself: `_Layout(("A.w = 1",), ("", "A.w", "=", " 1"), NO_COMMENTS)`.

    `lines` are not indented yet, `parts` as in Entry, `comments` those before the brace of a block.
    """

    lines: tuple[str, ...]
    parts: tuple[str, str, str, str] | None
    comments: Comments


def _layout(text: str, unit: Unit, depth: int) -> _Layout:
    """Lay a unit out by itself, inside `depth` blocks."""
    # its tokens may be cached from another place of an earlier text
    shift = unit.start - (unit.tokens[0].start_pos or 0)
    ends = [(token.end_pos or 0) + shift for token in unit.tokens]
    starts = [*((token.start_pos or 0) + shift for token in unit.tokens[1:]), unit.end - (unit.step > 0)]
    pieces = [
        Piece(token, _between(text[start:end])) for token, start, end in zip(unit.tokens, ends, starts, strict=True)
    ]
    nodes = nodes_of(pieces)
    lines = _statement(nodes, WIDTH - depth * INDENT, 2 if unit.step else 0)
    if unit.step:
        return _Layout((*lines[:-1], f"{lines[-1]} {{"), None, comments_behind(nodes))
    place, parts = _operator(nodes), None
    if place < len(nodes) and len(lines) == 1:
        keyword = "let" if pieces[0].kind == "LET" else ""
        parts = keyword, flat_text(nodes[:place]), nodes[place].flat[1:], flat_text(nodes[place + 1 :])
    return _Layout(tuple(lines), parts, NO_COMMENTS)


def _between(gap: str) -> Comments:
    """Return the comments of a gap inside a statement."""
    texts = tuple(match[0].rstrip() for match in COMMENT.finditer(gap)) if "#" in gap else ()
    return Comments(texts, bool(texts) and "\n" not in gap[: gap.index("#")])


def _operator(nodes: Sequence[Node]) -> int:
    """Return the index of a statement's operator, the number of nodes if it has none."""
    places = (i for i, node in enumerate(nodes) if isinstance(node, Piece) and node.kind in OPERATORS)
    return next(places, len(nodes))


def _statement(nodes: list[Node], width: int, after: int) -> list[str]:
    """Return the lines of a statement, `after` cells to follow. Targets that don't fit one line take one each."""
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
