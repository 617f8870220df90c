"""From text to statements: the grammar loaded, newlines filtered, every mistake of a file reported in one pass.

The grammar is `grammar/initdsl.lark`. Its tree is built straight into the values of `nodes` (`building`); what a
callback finds wrong, and what the parser does not accept (`mistakes`), is collected, and parsing goes on at the end of
the statement.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from lark import Token
from lark.exceptions import UnexpectedInput

from initdsl.text.diagnostic import Diagnostic, in_order
from initdsl.text.source import Source, Span
from initdsl.text.wording import shortened

from .builder import Statements, spanned
from .mistakes import recover
from .nodes import Block, Index, Path, Rule, Step
from .parser import feed, parse_table, parser, stacks
from .state import DEFAULT_LIMITS, ENCLOSING, Limits, Problem, Session, TooDeep, reading
from .walk import children, moved

__all__ = ["Memory", "Unit", "parse_source", "read_units"]


# the version of the language, and the line by which a file may say which one it is written in
VERSION = 1


VERSION_LINE = re.compile(r"^#![ \t]*initdsl\b([^\n]*)", re.MULTILINE)


FORBIDDEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x85\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]|\r(?!\n)|[\ud800-\udfff]"
)


@dataclass(slots=True)
class Unit:
    """What is read in one go, and read again only when its text changes: a statement, or a block's head with its `{`.

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
        """The same, its rule and problems where it stands. Its tokens stay what they were."""
        if self.by:
            self.rule = None if self.rule is None else moved(self.rule, self.by)
            self.problems = [(n, m, Span(s.start + self.by, s.end + self.by), h) for n, m, s, h in self.problems]
            self.by = 0
        return self


# what reading looks at further than this is not kept
LONGEST_KEPT = 20_000


# so many units with the same first line are tried
TRIED = 8


class Memory:
    """The units of the text that was parsed last, so that parsing one that differs a little reads little anew.


    What it is used for gives the very result of parsing without it. Not to be shared between threads.
    """

    def __init__(self) -> None:
        self._of: tuple[str, Limits] | None = None
        self._before: dict[tuple[bool, bool, str], list[Unit]] = {}
        self._now: dict[tuple[bool, bool, str], list[Unit]] = {}

    def begin(self, source: str, limits: Limits) -> None:
        """Another parse begins: the units of the last one are those to look among."""
        self._before = self._now if self._of == (source, limits) else {}
        self._of, self._now = (source, limits), {}

    def find(self, text: str, at: int, depth: int, limits: Limits) -> Unit | None:
        """The unit that begins at a place inside so many blocks, if it has been read before."""
        key = self._key(text, at, depth)
        there = self._before.get(key, [])
        for number, unit in enumerate(there[:TRIED]):
            end = at + len(unit.text)
            fits = text.startswith(unit.text, at) and (not unit.last or end == len(text))
            if fits and depth + unit.nesting <= limits.nesting:
                del there[number]
                unit.move(at)
                self._now.setdefault(key, []).append(unit)
                return unit
        return None

    def keep(self, unit: Unit, text: str, depth: int) -> None:
        """Remember a unit that was read anew."""
        if len(unit.text) <= LONGEST_KEPT:
            self._now.setdefault(self._key(text, unit.start, depth), []).append(unit)

    @staticmethod
    def _key(text: str, at: int, depth: int) -> tuple[bool, bool, str]:
        """What a unit depends on besides its text, and its first line."""
        line = text.find("\n", at)
        return depth > 0, text[at - 1 : at].isspace(), text[at : line if line >= 0 else len(text)]


def parse_source(
    source: Source, limits: Limits = DEFAULT_LIMITS, memory: Memory | None = None
) -> tuple[list[Rule], list[Diagnostic]]:
    """The statements of a text, and everything that is wrong with its syntax.

    Statements with a mistake are left out; the others are there. `memory` makes parsing a text anew that changed a
    little fast, and changes no result. Never raises on any text.
    """
    found, problems = read_units(source, limits, memory)
    rules: list[Rule] = []
    open_: list[tuple[Unit, list[Rule]]] = []  # the heads of the blocks around, each with the rules before it

    def close(end: int) -> None:
        nonlocal rules
        head, before = open_.pop()
        if isinstance(head.rule, Block) and (rules or not head.problems):
            before.append(replace(head.rule, rules=tuple(rules), span=Span(head.rule.span.start, end)))
        rules = before

    for unit in found:
        if unit.step < 0:
            close(unit.end)
            continue
        unit.settle()
        if unit.step:
            open_.append((unit, rules))
            rules = []
        elif unit.rule is not None:
            rules.append(unit.rule)
    while open_:
        close(len(source.text))
    return rules, problems


def read_units(
    source: Source, limits: Limits = DEFAULT_LIMITS, memory: Memory | None = None
) -> tuple[list[Unit], list[Diagnostic]]:
    """The units of a text in its order, a `}` that closes a block as one of its own, and everything wrong with them.

    There are none of a text that is refused as a whole. Their tokens are kept with a `memory` only.
    """
    text = source.text
    if memory is not None:
        memory.begin(source.name, limits)
    if len(text) > limits.file_bytes or len(text.encode("utf-8", "surrogatepass")) > limits.file_bytes:
        return [], [Diagnostic("file-too-large", f"the text is larger than {limits.file_bytes:,} bytes", source)]
    problems = [
        Diagnostic("forbidden-character", _forbidden(m[0]), source, Span(m.start(), m.end()), _instead(m[0]))
        for m, _ in zip(FORBIDDEN.finditer(text), range(limits.errors), strict=False)
    ]
    if problems:
        return [], problems
    session = Session(limits, text)
    found: list[Unit] = []
    braces: list[int] = []  # where the blocks that are open begin
    try:
        if _version(text, session):
            for unit in _units(source, limits, memory):
                found.append(unit)
                if unit.step > 0:
                    braces.append(unit.end - 1)
                elif unit.step < 0:
                    braces.pop()
                if unit.problems:
                    session.problems += unit.settle().problems
                    if unit.failed and len(session.problems) >= limits.errors:
                        session.report(
                            "too-many-errors", "there are more errors than these", Span(len(text), len(text))
                        )
                        found, braces = [], []
                        break
            if braces:
                brace = Span(braces[-1], braces[-1] + 1)
                session.report("unclosed-bracket", "`{` is never closed", brace, "close it with `}`")
    except TooDeep as error:
        session.problems += error.problems
        found = []
    wrong = [Diagnostic(name, message, source, span, hint) for name, message, span, hint in session.problems]
    return found, in_order(wrong)


# between two units
SEPARATORS = re.compile(r"(?:[ \t\r\n;]+|#[^\n]*)*+")


def _units(source: Source, limits: Limits, memory: Memory | None) -> Iterator[Unit]:
    """The units of a text, remembered or read. Raises TooDeep."""
    text, at, depth = source.text, 0, 0
    cursor = parser().parse_interactive(text)
    while True:
        gap = SEPARATORS.match(text, at)
        at = gap.end() if gap else at
        if at >= len(text):
            return
        if depth and text[at] == "}":
            unit = Unit(at, at + 1, "}", False, None, -1, False, 0, [], ())
        elif memory is None:
            unit = _unit(cursor, text, at, depth, limits, source.name)
            unit.tokens = ()
        elif (known := memory.find(text, at, depth, limits)) is not None:
            unit = known
        else:
            unit = _unit(cursor, text, at, depth, limits, source.name)
            memory.keep(unit, text, depth)
        yield unit
        at = unit.end
        depth += unit.step


def _unit(cursor: Any, text: str, start: int, depth: int, limits: Limits, source: str) -> Unit:
    """Read the unit that begins at a place, inside so many blocks. Raises TooDeep."""
    state, place = cursor.parser_state, cursor.lexer_thread.state
    table = parse_table(parser())
    states, values = stacks(parser(), depth > 0)
    state.state_stack[:] = states
    state.value_stack[:] = [Statements() if isinstance(value, Statements) else value for value in values]
    place.line_ctr.char_pos, place.last_token = start, None
    session = reading.session = Session(limits, text, start, start, brackets=[ENCLOSING] * depth)
    tokens: list[Token] = []
    rule: Any = None
    end, step, failed = len(text), 0, False
    while True:
        try:
            for token in cursor.lexer_thread.lex(state):
                kind = token.type
                feed(table, state, token)
                if kind == "NL" or kind == "SEMICOLON" or (kind == "RBRACE" and len(session.brackets) < depth):
                    rule, end = state.value_stack[-2], tokens[-1].end_pos or 0
                    break
                if kind == "LBRACE" and isinstance(state.value_stack[-3], Statements):
                    targets = state.value_stack[-2]
                    rule, end, step = Block(targets, (), spanned(targets, token)), token.end_pos or 0, 1
                    break
                tokens.append(token)
            else:
                feed(table, state, Token("NL", "\n", end, end_pos=end))
                rule, end = state.value_stack[-2], tokens[-1].end_pos or 0
            break
        except UnexpectedInput as error:
            failed, rule = True, None
            error.interactive_parser = cursor
            end = recover(error, text, session, depth)
            if end >= len(text) or text[end] != "{":
                break
            # the block's body can still be read
            cursor.feed_token(Token("CLASS", "*", end, end_pos=end))
    end = max(end, start + 1)
    if rule is not None and not _check_nodes(rule, depth > 0, session) and not step:
        rule = None
    reach = max(session.reach, place.line_ctr.char_pos, end)
    line = text.find("\n", reach)
    reach = line + 1 if line >= 0 else len(text) + 1
    return Unit(
        start, end, text[start:reach], reach > len(text), None if rule is None else replace(rule, source=source),
        step, failed, max(0, session.deepest - depth), session.problems, tuple(tokens),
    )  # fmt: skip


def _version(text: str, session: Session) -> bool:
    """Whether this parser knows the version a text says it is written in; a line astray is reported too."""
    for line in VERSION_LINE.finditer(text):
        span = Span(line.start(), line.end())
        word = line[1].strip()
        number = int(word) if word.isascii() and word.isdigit() and len(word) < 10 else None
        if number is None or number < 1:
            message = f"a version line names one version, a whole number from 1, not `{shortened(word)}`" if word else (
                "a version line names the version"
            )  # fmt: skip
            session.report("version-line", message, span, f"write `#! initdsl {VERSION}`")
        elif line.start() > 0:
            session.report("version-line", "a version line is the first line of its file", span, "move it to line 1")
        elif number > VERSION:
            session.report(
                "newer-language",
                f"this file is written in version {number} of the language; this initdsl reads version {VERSION}",
                span,
                "upgrade initdsl",
            )
            return False
    return True


def _forbidden(character: str) -> str:
    code = ord(character)
    name = {"\r": "a carriage return without a line feed", "\0": "a NUL character", "\x0c": "a form feed"}.get(
        character
    )
    name = name or unicodedata.name(character, "a control character").lower()
    return f"{name} (U+{code:04X}) can't stand in a rule file"


def _instead(character: str) -> str | None:
    return "lines end with `\\n` or `\\r\\n`" if character == "\r" else None


def _check_nodes(statement: Any, inside: bool, session: Session) -> bool:
    """Depth, and selectors that continue a block where there is none."""
    stack: list[tuple[Any, int]] = [(statement, 0)]
    deepest = session.limits.depth
    fine = True
    while stack:
        current, depth = stack.pop()
        if depth > deepest:
            session.report(
                "too-deep", f"this expression is nested more than {deepest} deep", statement.span, "split it with `let`"
            )
            return False
        if isinstance(current, Path) and not _short_enough(current, session):
            return False
        if isinstance(current, Path) and current.root is None and not inside:
            if isinstance(current.steps[0], Index):
                session.report(
                    "stray-space", "an index stands directly behind what it indexes, without a space",
                    current.span, "as in `net[2]`",
                )  # fmt: skip
            else:
                session.report(
                    "outside-block", "a selector that starts with a dot continues a block, and there is none",
                    current.span, "start with `net` or a class name",
                )  # fmt: skip
            fine = False
        stack.extend((child, depth + 1) for child in children(current))
    return fine


def _short_enough(path: Path, session: Session) -> bool:
    """Whether a path has no more steps, and no more wildcards among them, than the limits allow."""
    limits = session.limits
    if len(path.steps) > limits.steps:
        session.report(
            "too-deep", f"this path has more than {limits.steps:,} steps", path.span, "`**` is any number of steps"
        )
        return False
    if sum(isinstance(step, Step) and "*" in step.name for step in path.steps) > limits.wildcards:
        session.report(
            "too-deep",
            f"this path has more than {limits.wildcards} wildcards",
            path.span,
            "`**` is any number of steps",
        )
        return False
    return True
