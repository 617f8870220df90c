"""A text as pieces, those the parser reads one by one, so that a keystroke costs one of them."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from functools import lru_cache
from typing import Literal, NamedTuple

from initdsl.language.syntax.lenient import LenientCache, reread
from initdsl.language.syntax.nodes import Block, Rule
from initdsl.language.syntax.parse import FORBIDDEN, parse_source
from initdsl.language.syntax.units import Unit
from initdsl.text.source import Source, Span

__all__ = ["AROUND", "Piece", "Pieces", "PiecesCache", "pieces_of", "statement"]


class Piece(NamedTuple):
    """One statement, the head of a block, or the `}` of one: of `A { .w = 1 }` the pieces `A`, `.w = 1` and `}`.

    It lies from `start` to `end`. `outer` is the number of the head of the block it stands in, or -1. `rule` is the
    statement, a head's with nothing in it, or `None` where there is a mistake; its spans are `shift` behind.
    """

    start: int
    end: int
    kind: Literal["statement", "open", "close"]
    outer: int
    text: str
    rule: Rule | None = None
    shift: int = 0

    def place(self, span: Span) -> Span:
        """Where a span of the rule lies in the text."""
        return Span(span.start + self.shift, span.end + self.shift)


class Pieces(NamedTuple):
    """A text, its pieces in their order, and the comments between them as `(start, end)`."""

    text: str
    pieces: list[Piece]
    comments: list[tuple[int, int]]

    def at(self, offset: int) -> int:
        """Return the number of the piece that an offset lies in or directly behind; -1 for none."""
        number = bisect_right(self.pieces, offset, key=lambda piece: piece.start) - 1
        return number if number >= 0 and offset <= self.pieces[number].end else -1

    def between(self, start: int, end: int) -> range:
        """Return the numbers of the pieces that lie between two offsets, or partly, or directly beside."""
        first = bisect_left(self.pieces, start, key=lambda piece: piece.end)
        return range(first, bisect_right(self.pieces, end, first, key=lambda piece: piece.start))

    def typed(self, offset: int) -> tuple[Piece | None, int]:
        """Return the statement that what is typed at an offset goes on with and its number, or `None` and the next one."""
        number = bisect_left(self.pieces, offset, key=lambda piece: piece.start) - 1
        if number >= 0 and self.pieces[number].kind != "close":
            piece = self.pieces[number]
            if self.text.count("\n", piece.start, offset) <= LONGEST:
                # a letter more, and it is still one statement
                again = pieces_of(f"{self.text[piece.start : offset]}x").pieces
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


class PiecesCache:
    """The pieces of the text that was cut last, so that cutting one that differs a little takes little time.

    Not to be shared between threads.
    """

    def __init__(self) -> None:
        self.units = LenientCache()
        self.pieces = Pieces("", [], [])


def pieces_of(text: str, cache: PiecesCache | None = None) -> Pieces:
    """Return the pieces of a text, whatever is wrong with it; `cache` makes it fast where the text changed a little."""
    cache = cache or PiecesCache()
    before = cache.pieces
    first, behind, fresh, by = reread(text, cache.units)
    start = cache.units.units[first - 1].end if first else 0
    pieces = before.pieces[:first]
    comments = before.comments[: bisect_left(before.comments, (start,))]
    start = _cut(text, fresh, pieces, comments, start)
    if behind < len(before.pieces):
        end = before.pieces[behind].start
        comments += _comments(text, start, end + by)
        comments += [(s + by, e + by) for s, e in before.comments[bisect_left(before.comments, (end,)) :]]
        pieces += _moved(before.pieces, behind, pieces, by)
    else:
        comments += _comments(text, start, len(text))
    cache.pieces = Pieces(text, pieces, comments)
    return cache.pieces


def _cut(text: str, units: list[Unit], pieces: list[Piece], comments: list[tuple[int, int]], end: int) -> int:
    """Add units to the pieces of a text, and to its comments those between the offset `end` and the last unit.

    Returns where that ends.
    """
    outer = _head(pieces, len(pieces))
    for unit in units:
        comments += _comments(text, end, unit.start)
        if unit.step < 0 or (unit.failed and unit.end == unit.start + 1 and text[unit.start] == "}"):
            outer = pieces[outer].outer if outer >= 0 else -1
            piece = Piece(unit.start, unit.end, "close", outer, "}")
        else:
            last = _end(text, unit)
            body = text[unit.start : last]
            wrong = unit.problems or FORBIDDEN.search(body) is not None
            kind: Literal["open", "statement"] = "open" if unit.step else "statement"
            piece = Piece(unit.start, last, kind, outer, body, None if wrong else unit.rule, unit.by)
        pieces.append(piece)
        if unit.step > 0:
            outer = len(pieces) - 1
        comments += _comments(text, piece.end, unit.end)
        end = unit.end
    return end


def _comments(text: str, start: int, end: int) -> list[tuple[int, int]]:
    """Return where comments lie between two offsets that are not inside of a piece."""
    if text.find("#", start, end) < 0:
        return []
    return [match.span() for match in COMMENT.finditer(text, start, end)]


def _head(pieces: list[Piece], number: int) -> int:
    """Return the number of the head of the block that the piece `number` stands in, by what stands before it, or -1."""
    if not number:
        return -1
    last = pieces[number - 1]
    return number - 1 if last.kind == "open" else last.outer


def _moved(before: list[Piece], behind: int, pieces: list[Piece], by: int) -> list[Piece]:
    """Return the pieces from number `behind` on as they follow on `pieces`, `by` characters further on."""
    rest = before[behind:]
    shift = len(pieces) - behind
    old, new = _head(before, behind), _head(pieces, len(pieces))
    if not by and not shift and old == new:
        return rest
    heads = {-1: -1}  # by number, those of the blocks that are open here
    while old >= 0 <= new:
        heads[old] = new
        old, new = before[old].outer, pieces[new].outer
    return [
        Piece(start + by, end + by, kind, outer + shift if outer >= behind else heads[outer], text, rule, moved + by)
        for start, end, kind, outer, text, rule, moved in rest
    ]


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
