"""A text cut into statements, so that a keystroke costs one of them: each is read alone, and read once.

The cut is the grammar's: a newline or `;` ends a statement, but not inside brackets nor behind what must go on. On text
that does not parse it is a guess that keeps a mistake to its own statement.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

from initdsl.language.syntax.highlight import Match, Region, table
from initdsl.language.syntax.nodes import Block, Rule
from initdsl.language.syntax.parse import parse_source
from initdsl.text.source import Source

__all__ = ["AROUND", "Colour", "Piece", "Pieces", "coloured", "cut", "read", "rule_of"]


@dataclass(frozen=True, slots=True)
class Piece:
    """One statement, the head of a block, or the `}` of one. `outer` is the head of the block it stands in, or -1."""

    start: int
    end: int
    kind: Literal["statement", "open", "close"]
    outer: int
    text: str


class Pieces(NamedTuple):
    """The pieces of a text in its order, and its comments between them as `(start, end)`."""

    pieces: list[Piece]
    comments: list[tuple[int, int]]

    def at(self, offset: int) -> int:
        """The number of the piece that an offset lies in or directly behind; -1 for none."""
        low, high = 0, len(self.pieces)
        while low < high:
            middle = (low + high) // 2
            if self.pieces[middle].start <= offset:
                low = middle + 1
            else:
                high = middle
        return low - 1 if low and offset <= self.pieces[low - 1].end else -1

    def typed(self, text: str, offset: int) -> tuple[Piece | None, int]:
        """The statement that what is typed at an offset goes on with, and its number; or `None`, and the next number."""
        number = bisect_left(self.pieces, offset, key=lambda piece: piece.start) - 1
        if number >= 0 and self.pieces[number].kind != "close":
            piece = self.pieces[number]
            if text[piece.start : offset].count("\n") <= LONGEST:
                # a letter more, and it is still one statement
                again = cut.__wrapped__(f"{text[piece.start : offset]}x").pieces
                if len(again) == 1 and again[0].kind == "statement":
                    return piece, number
        return None, number + 1

    def enclosing(self, offset: int) -> int:
        """The head of the innermost block an offset lies in, or -1."""
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
        """The heads of the blocks around a piece, outermost first."""
        found = []
        while outer >= 0:
            found.append(self.pieces[outer])
            outer = self.pieces[outer].outer
        return found[::-1]


COMMON = r'"(?:\\.|[^"\\\n])*"?|\#[^\n]*|[()\[\]{};\n]'


# before its operator a statement may hold a regular expression, behind it a division
BEFORE = re.compile(rf"{COMMON}|/(?![ =*/])(?:\\.|[^/\\\n])+/|~|[-+*/]?=(?!=)|==")


BEHIND = re.compile(COMMON)


GOES_ON = re.compile(r"(?:,|(?<!\w)(?:in|not|and|or))$")


EXPRESSION_GOES_ON = re.compile(r"(?:[-+*/%<>,]|[=!<>]=|(?<!\w)(?:in|not|and|or))$")


BLANK = re.compile(r"(?:\s|#[^\n]*)*+")


# a statement of more lines is not one that is typed
LONGEST = 500


# this many brackets that are never closed are looked for to the end of the text
PATIENCE = 8


@lru_cache(maxsize=8)
def cut(text: str) -> Pieces:
    """The pieces of a text. Never raises, in time linear in the text."""
    pieces: list[Piece] = []
    comments: list[tuple[int, int]] = []
    outer, at, length = -1, 0, len(text)
    patience = PATIENCE
    while at < length:
        character = text[at]
        if character in " \t\r\n;":
            at += 1
        elif character == "#":
            end = text.find("\n", at)
            end = length if end < 0 else end
            comments.append((at, end))
            at = end
        elif character == "}":
            outer = pieces[outer].outer if outer >= 0 else -1
            pieces.append(Piece(at, at + 1, "close", outer, "}"))
            at += 1
        elif character == "{":
            pieces.append(Piece(at, at, "open", outer, ""))
            outer = len(pieces) - 1
            at += 1
        else:
            end, behind, note, closed = _end(text, at, patience > 0)
            patience -= not closed
            body = text[at:end].rstrip()
            if note is not None:
                body = text[at : note[0]].rstrip()
                comments.append(note)
            opens = text.startswith("{", behind)
            pieces.append(Piece(at, at + len(body), "open" if opens else "statement", outer, body))
            if opens:
                outer = len(pieces) - 1
                behind += 1
            at = max(behind, at + 1)
    return Pieces(pieces, comments)


def _end(text: str, start: int, patient: bool) -> tuple[int, int, tuple[int, int] | None, bool]:
    """Where a statement ends and what follows begins; a comment behind it; whether its brackets are closed."""
    brackets: list[tuple[str, int]] = []
    at, operator, comment = start, False, None
    while True:
        match = (BEHIND if operator or brackets else BEFORE).search(text, at)
        if match is None:
            break
        found, at = match[0], match.end()
        first = found[0]
        if first == "#":
            comment = match.span()
        elif first in '"/' and len(found) > 1 and found != "/=":
            comment = None
        elif first in "([":
            brackets.append((first, match.start()))
        elif first == "{":
            if not brackets and not operator:
                return match.start(), match.start(), None, True
            brackets.append((first, match.start()))
        elif first in ")]":
            if brackets and brackets[-1][0] != "{":
                brackets.pop()
        elif first == "}":
            if brackets and brackets[-1][0] == "{":
                brackets.pop()
            elif brackets:
                break
            else:
                return match.start(), match.start(), None, True
        elif first in ";\n":
            if brackets:
                if not patient and first == "\n":
                    break
                comment = None if first == "\n" else comment
                continue
            body = text[start : comment[0] if comment else match.start()].rstrip()
            if first == "\n" and (EXPRESSION_GOES_ON if operator else GOES_ON).search(body):
                comment = None
                continue
            if first == "\n" and not operator:
                gap = BLANK.match(text, at)
                assert gap is not None
                if text.startswith("{", gap.end()):
                    return (comment[0] if comment else match.start()), gap.end(), None, True
            return match.start(), match.start(), comment, True
        elif not brackets:
            operator = True
    if not brackets:
        return len(text), len(text), comment, True
    end = text.find("\n", brackets[0][1])
    end = len(text) if end < 0 else end
    return end, end, None, False


# what stands in a block is read in one
AROUND = "net.**{"


@lru_cache(maxsize=1 << 14)
def rule_of(text: str, kind: str, inside: bool) -> tuple[Rule | None, int]:
    """The statement a piece holds (a block's head with nothing in it), and what its spans are ahead by; `None` for a mistake."""
    shift = len(AROUND) if inside else 0
    whole = text + ("{}" if kind == "open" else "")
    rules, problems = parse_source(Source("", f"{AROUND}{whole}\n}}" if inside else whole))
    if problems or not rules:
        return None, shift
    rule = rules[0]
    if inside:
        if not isinstance(rule, Block) or not rule.rules:
            return None, shift
        rule = rule.rules[0]
    return rule, shift


def read(piece: Piece) -> tuple[Rule | None, int]:
    """The statement of a piece, and what to add to its spans to be in the text of the piece."""
    if piece.kind == "close" or not piece.text:
        return None, 0
    rule, shift = rule_of(piece.text, piece.kind, piece.outer >= 0)
    return rule, piece.start - shift


class Colour(NamedTuple):
    """A token of a text that need not parse; its kind is one of `highlight.KINDS`."""

    start: int
    end: int
    kind: str


@lru_cache(maxsize=1)
def _compiled() -> dict[str, list[tuple[re.Pattern[str], Match | Region]]]:
    return {
        context: [
            (re.compile(rule.pattern if isinstance(rule, Match) else rule.begin, re.MULTILINE), rule) for rule in rules
        ]
        for context, rules in table().items()
    }


@lru_cache(maxsize=256)
def _ending(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.MULTILINE)


@lru_cache(maxsize=1 << 14)
def coloured(text: str) -> tuple[Colour, ...]:
    """The tokens of a statement, by the table that colours files in editors and documents."""
    return tuple(_colours(text))


def _colours(text: str) -> Iterator[Colour]:
    contexts = _compiled()
    stack: list[tuple[str, re.Pattern[str] | None]] = [("selectors", None)]
    at = 0
    while at < len(text):
        if text[at] in " \t\r\n" and stack[-1][1] is None:
            at += 1
            continue
        context, ending = stack[-1]
        if ending is not None and (match := ending.match(text, at)) is not None:
            stack.pop()
            if match.end() > at:
                yield Colour(at, match.end(), "punctuation")
                at = match.end()
            continue
        for pattern, rule in contexts[context]:
            match = pattern.match(text, at)
            if match is None or match.end() == at:
                continue
            for group, kind in enumerate(rule.kinds, 1 if len(rule.kinds) > 1 else 0):
                yield Colour(*match.span(group), kind)
            if isinstance(rule, Region):
                stack.append((rule.inside, _ending(rule.end)))
            at = match.end()
            break
        else:
            at += 1
