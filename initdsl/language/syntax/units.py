"""A text read unit by unit: a statement, the head of a block or its `}`, each read again only when its text changes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from lark import Token
from lark.exceptions import UnexpectedInput

from initdsl.text.source import Source, Span

from .building.children import spanned
from .checks import well_formed
from .mistakes import recover
from .nodes import Block, Rule
from .parser import AnyCursor, cursor_of
from .state import ENCLOSING, Limits, ParseState, Problem, reading
from .walk import moved

__all__ = ["NEVER_FOUND", "ParseCache", "Unit", "is_behind_blank", "next_start", "units"]


@dataclass(slots=True)
class Unit:
    """What is read in one go: of `Block { .bias = 0 }` the head `Block {`, the statement `.bias = 0`, and `}`.

    It lies from `start` to `end`. `text` is all that reading it looked at, from `start` on and often beyond `end`; that
    went to the end of the whole text if `last`. `rule` is `None` where there is a mistake; a head is a Block without
    rules. `step` is 1 for a head, -1 for the `}` of a block, otherwise 0. `failed` says that the grammar did not accept
    it, `nesting` how deep its own brackets go. Its rule, problems and tokens were read `by` characters further up.
    """

    start: int
    end: int
    text: str
    last: bool
    rule: Rule | None
    step: int
    failed: bool
    nesting: int
    problems: list[Problem]
    tokens: tuple[Token, ...]
    by: int = 0

    def move(self, start: int) -> None:
        """Put it to another place; what it holds follows when it is asked for."""
        by = start - self.start
        self.start, self.end, self.by = start, self.end + by, self.by + by

    def settle(self) -> Unit:
        """Return it with its rule and problems where it stands. Its tokens stay what they were."""
        if self.by:
            self.rule = None if self.rule is None else moved(self.rule, self.by)
            self.problems = [(n, m, Span(s.start + self.by, s.end + self.by), h) for n, m, s, h in self.problems]
            self.by = 0
        return self


# what reading looks at further than this is not kept
LONGEST_KEPT = 20_000


# so many units with the same first line are tried
TRIED = 8


# the nesting of what the grammar has not read: no limit allows it, so that it is never found again
NEVER_FOUND = 1 << 30


# what a unit depends on besides its text: is it in a block, does a blank stand before it; and its first line
Key = tuple[bool, bool, str]


class ParseCache:
    """The units of the text that was parsed last, so that parsing one that differs a little reads little anew.

    A parse with it gives the very result of one without. Not to be shared between threads.
    """

    def __init__(self) -> None:
        self._of: tuple[str, Limits] | None = None
        self._last: dict[Key, list[Unit]] = {}
        self._now: dict[Key, list[Unit]] = {}

    def begin(self, source: str, limits: Limits) -> None:
        """Begin another parse: the units of the last one are those to look among."""
        self._last = self._now if self._of == (source, limits) else {}
        self._of, self._now = (source, limits), {}

    def find(self, text: str, start: int, depth: int, limits: Limits) -> Unit | None:
        """Return the unit that begins at `start` inside `depth` blocks, if it has been read before."""
        key = self._key(text, start, depth)
        candidates = self._last.get(key, [])
        for number, unit in enumerate(candidates[:TRIED]):
            end = start + len(unit.text)
            fits = text.startswith(unit.text, start) and (not unit.last or end == len(text))
            if fits and depth + unit.nesting <= limits.nesting:
                del candidates[number]
                unit.move(start)
                self._now.setdefault(key, []).append(unit)
                return unit
        return None

    def keep(self, unit: Unit, text: str, depth: int) -> None:
        """Remember a unit that was read anew."""
        if len(unit.text) <= LONGEST_KEPT:
            self._now.setdefault(self._key(text, unit.start, depth), []).append(unit)

    @staticmethod
    def _key(text: str, start: int, depth: int) -> Key:
        line = text.find("\n", start)
        return depth > 0, is_behind_blank(text, start), text[start : line if line >= 0 else len(text)]


# between two units
SEPARATORS = re.compile(r"(?:[ \t\r\n;]+|#[^\n]*)*+")


def next_start(text: str, at: int) -> int:
    """Return where the next unit begins behind an offset."""
    gap = SEPARATORS.match(text, at)
    return gap.end() if gap else at


def is_behind_blank(text: str, at: int) -> bool:
    """Whether a blank stands before an offset."""
    return text[at - 1 : at].isspace()


def units(source: Source, limits: Limits, cache: ParseCache | None, start: int = 0, depth: int = 0) -> Iterator[Unit]:
    """Yield the units of a text from the offset `start`, which lies inside `depth` blocks. Raises TooDeep.

    They keep their tokens with a `cache` only.
    """
    text, at = source.text, start
    cursor = cursor_of(text)
    while True:
        at = next_start(text, at)
        if at >= len(text):
            return
        if depth and text[at] == "}":
            unit = Unit(at, at + 1, "}", False, None, -1, False, 0, [], ())
        elif cache is None:
            unit = _read(cursor, text, at, depth, limits, source.name)
            unit.tokens = ()
        elif (remembered := cache.find(text, at, depth, limits)) is not None:
            unit = remembered
        else:
            unit = _read(cursor, text, at, depth, limits, source.name)
            cache.keep(unit, text, depth)
        yield unit
        at = unit.end
        depth += unit.step


def _read(cursor: AnyCursor, text: str, start: int, depth: int, limits: Limits, source: str) -> Unit:
    """Read the unit that begins at `start`, inside `depth` blocks. Raises TooDeep."""
    cursor.begin(start, depth > 0)
    state = reading.state = ParseState(limits, text, start, start, brackets=[ENCLOSING] * depth)
    tokens: list[Token] = []
    feed = cursor.feed
    rule: Rule | None = None
    end, step, failed = len(text), 0, False
    while True:
        try:
            for token in cursor.tokens():
                kind = token.type
                feed(token)
                if kind == "NL" or kind == "SEMICOLON" or (kind == "RBRACE" and len(state.brackets) < depth):
                    break
                if kind == "LBRACE" and (targets := cursor.targets()) is not None:
                    rule, end, step = Block(targets, (), spanned(targets, token)), token.end_pos or 0, 1
                    break
                tokens.append(token)
            else:
                feed(Token("NL", "\n", end, end_pos=end))
            if not step:
                rule, end = cursor.statement(), tokens[-1].end_pos or 0
            break
        except UnexpectedInput as error:
            failed, rule = True, None
            end = recover(error, cursor, text, state, depth)
            if end >= len(text) or text[end] != "{":
                break
            # the block's body can still be read
            feed(Token("CLASS", "*", end, end_pos=end))
    end = max(end, start + 1)
    if rule is not None and not well_formed(rule, depth > 0, state) and not step:
        rule = None
    reach = max(state.reach, cursor.reach(), end)
    line = text.find("\n", reach)
    reach = line + 1 if line >= 0 else len(text) + 1
    return Unit(
        start,
        end,
        text[start:reach],
        reach > len(text),
        None if rule is None else replace(rule, source=source),
        step,
        failed,
        max(0, state.deepest - depth),
        state.problems,
        tuple(tokens),
    )
