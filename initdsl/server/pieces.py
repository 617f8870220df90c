"""A text as pieces, those the parser reads one by one, so that a keystroke costs one of them."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal, NamedTuple

from initdsl.language.syntax.nodes import Block, Rule
from initdsl.language.syntax.parse import FORBIDDEN, parse_source
from initdsl.language.syntax.units import ParseCache, Unit, lenient_units
from initdsl.text.source import Source, Span

__all__ = ["AROUND", "Piece", "Pieces", "pieces_of", "statement"]


@dataclass(frozen=True, slots=True)
class Piece:
    """One statement, the head of a block, or the `}` of one: of `A { .w = 1 }` the pieces `A`, `.w = 1` and `}`.

    It lies from `start` to `end`. `outer` is the number of the head of the block it stands in, or -1. `rule` is the
    statement, a head's with nothing in it, or `None` where there is a mistake; its spans are `shift` behind.
    """

    start: int
    end: int
    kind: Literal["statement", "open", "close"]
    outer: int
    text: str
    rule: Rule | None = field(default=None, repr=False)
    shift: int = 0

    def place(self, span: Span) -> Span:
        """Where a span of the rule lies in the text."""
        return Span(span.start + self.shift, span.end + self.shift)


class Pieces(NamedTuple):
    """The pieces of a text in its order, and the comments between them as `(start, end)`."""

    pieces: list[Piece]
    comments: list[tuple[int, int]]

    def at(self, offset: int) -> int:
        """Return the number of the piece that an offset lies in or directly behind; -1 for none."""
        number = bisect_right(self.pieces, offset, key=lambda piece: piece.start) - 1
        return number if number >= 0 and offset <= self.pieces[number].end else -1

    def typed(self, text: str, offset: int) -> tuple[Piece | None, int]:
        """Return the statement that what is typed at an offset goes on with and its number, or `None` and the next one."""
        number = bisect_left(self.pieces, offset, key=lambda piece: piece.start) - 1
        if number >= 0 and self.pieces[number].kind != "close":
            piece = self.pieces[number]
            if text.count("\n", piece.start, offset) <= LONGEST:
                # a letter more, and it is still one statement
                again = pieces_of(f"{text[piece.start : offset]}x").pieces
                if len(again) == 1 and again[0].kind == "statement":
                    return piece, number
        return None, number + 1

    def enclosing(self, offset: int) -> int:
        """Return the number of the head of the innermost block an offset lies in, or -1."""
        open_ = -1
        for number, piece in enumerate(self.pieces):
            if piece.start >= offset:
                break
            if piece.kind == "open":
                open_ = number if offset > piece.end else piece.outer
            elif piece.kind == "close":
                open_ = piece.outer if open_ < 0 else self.pieces[open_].outer
        return open_

    def heads(self, outer: int) -> list[Piece]:
        """Return the heads of the blocks around a piece, outermost first."""
        heads = []
        while outer >= 0:
            heads.append(self.pieces[outer])
            outer = self.pieces[outer].outer
        return heads[::-1]


COMMENT = re.compile(r"#[^\n]*")


# a statement of more lines is not one that is typed
LONGEST = 500


def pieces_of(text: str, cache: ParseCache | None = None) -> Pieces:
    """Return the pieces of a text, whatever is wrong with it; `cache` makes it fast where the text changed a little."""
    return Pieces(*_cut(text, lenient_units(Source("", text), cache or ParseCache())))


def _cut(text: str, units: Iterable[Unit]) -> tuple[list[Piece], list[tuple[int, int]]]:
    """Return the units of a text as pieces, and the comments between those."""
    pieces: list[Piece] = []
    comments: list[tuple[int, int]] = []
    outer, end = -1, 0
    refused = FORBIDDEN.search(text) is not None
    for unit in units:
        comments += (match.span() for match in COMMENT.finditer(text, end, unit.start))
        if unit.step < 0 or (unit.failed and unit.end == unit.start + 1 and text[unit.start] == "}"):
            outer = pieces[outer].outer if outer >= 0 else -1
            piece = Piece(unit.start, unit.end, "close", outer, "}")
        else:
            last = _end(text, unit)
            body = text[unit.start : last]
            kind: Literal["open", "statement"] = "open" if unit.step else "statement"
            wrong = bool(unit.problems) or (refused and FORBIDDEN.search(body) is not None)
            piece = Piece(unit.start, last, kind, outer, body, None if wrong else unit.rule, unit.by)
        pieces.append(piece)
        if unit.step > 0:
            outer = len(pieces) - 1
        comments += (match.span() for match in COMMENT.finditer(text, piece.end, unit.end))
        end = unit.end
    comments += (match.span() for match in COMMENT.finditer(text, end))
    return pieces, comments


def _end(text: str, unit: Unit) -> int:
    """Return where the text of a statement ends, or of a head what stands in front of its `{`."""
    if unit.step and isinstance(unit.rule, Block):
        return unit.rule.targets.span.end + unit.by
    return unit.start + len(text[unit.start : unit.end - (unit.step > 0)].rstrip())


# what stands in a block is read in one
AROUND = "net.**{"


@lru_cache(maxsize=1 << 10)
def statement(text: str, inside: bool) -> Rule | None:
    """Return the statement that a text is, inside of a block or not; `None` for a mistake. Its spans are of no use."""
    rules, problems = parse_source(Source("", f"{AROUND}{text}\n}}" if inside else text))
    if problems or not rules:
        return None
    rule = rules[0]
    if not inside:
        return rule
    return rule.rules[0] if isinstance(rule, Block) and rule.rules else None
