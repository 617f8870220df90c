"""From text to statements: every mistake of a text in one pass, the statements without one built into `nodes`."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import replace

from initdsl.text.diagnostic import Diagnostic, in_order
from initdsl.text.source import Source, Span
from initdsl.text.wording import shortened

from .nodes import Block, Rule
from .state import DEFAULT_LIMITS, Limits, ParseState, TooDeep
from .units import ParseCache, Unit, units

__all__ = ["FORBIDDEN", "ParseCache", "Unit", "parse_source", "read_units"]


# the version of the language, and the line by which a file may say which one it is written in
VERSION = 1


VERSION_LINE = re.compile(r"^#![ \t]*initdsl\b([^\n]*)", re.MULTILINE)


# what a rule file may not hold, not even in strings and comments
FORBIDDEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x85\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]|\r(?!\n)|[\ud800-\udfff]"
)


# forbidden characters whose Unicode names say less
CHARACTERS = {"\r": "a carriage return without a line feed", "\0": "a NUL character", "\x0c": "a form feed"}


def parse_source(
    source: Source, limits: Limits = DEFAULT_LIMITS, cache: ParseCache | None = None
) -> tuple[list[Rule], list[Diagnostic]]:
    """Return the statements of a text, and everything that is wrong with its syntax.

    Statements with a mistake are left out; the others are there. `cache` makes parsing a text anew that changed a
    little fast, and changes no result. Never raises on any text.
    """
    read, problems = read_units(source, limits, cache)
    rules: list[Rule] = []
    open_: list[tuple[Unit, list[Rule]]] = []  # the heads of the blocks around, each with the rules in front of it

    def close(end: int) -> None:
        nonlocal rules
        head, outer = open_.pop()
        if isinstance(head.rule, Block) and (rules or not head.problems):
            outer.append(replace(head.rule, rules=tuple(rules), span=Span(head.rule.span.start, end)))
        rules = outer

    for unit in read:
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
    source: Source, limits: Limits = DEFAULT_LIMITS, cache: ParseCache | None = None
) -> tuple[list[Unit], list[Diagnostic]]:
    """Return the units of a text in its order, a `}` that closes a block as one of its own, and all that is wrong.

    There are none of a text that is refused as a whole. Their tokens are kept with a `cache` only.
    """
    text = source.text
    if cache is not None:
        cache.begin(source.name, limits)
    if len(text) > limits.file_bytes or len(text.encode("utf-8", "surrogatepass")) > limits.file_bytes:
        return [], [Diagnostic("file-too-large", f"the text is larger than {limits.file_bytes:,} bytes", source)]
    problems = [
        Diagnostic("forbidden-character", _forbidden(m[0]), source, Span(m.start(), m.end()), _instead(m[0]))
        for m, _ in zip(FORBIDDEN.finditer(text), range(limits.errors), strict=False)
    ]
    if problems:
        return [], problems
    state = ParseState(limits, text)
    read: list[Unit] = []
    try:
        if _version(text, state):
            read = _collected(source, state, cache)
    except TooDeep as error:
        state.problems += error.problems
    wrong = [Diagnostic(name, message, source, span, hint) for name, message, span, hint in state.problems]
    return read, in_order(wrong)


def _collected(source: Source, state: ParseState, cache: ParseCache | None) -> list[Unit]:
    """Return the units of a text, none if there are too many mistakes; `state` is told what is wrong. Raises TooDeep."""
    read: list[Unit] = []
    braces: list[int] = []  # where the blocks that are open begin
    for unit in units(source, state.limits, cache):
        read.append(unit)
        if unit.step > 0:
            braces.append(unit.end - 1)
        elif unit.step < 0:
            braces.pop()
        if unit.problems:
            state.problems += unit.settle().problems
            if unit.failed and len(state.problems) >= state.limits.errors:
                end = len(source.text)
                state.report("too-many-errors", "there are more errors than these", Span(end, end))
                return []
    if braces:
        brace = Span(braces[-1], braces[-1] + 1)
        state.report("unclosed-bracket", "`{` is never closed", brace, "close it with `}`")
    return read


def _version(text: str, state: ParseState) -> bool:
    """Whether this parser knows the version a text says it is written in; a line astray is reported too."""
    for line in VERSION_LINE.finditer(text):
        span = Span(line.start(), line.end())
        word = line[1].strip()
        number = int(word) if word.isascii() and word.isdigit() and len(word) < 10 else None
        if number is None or number < 1:
            message = "a version line names the version"
            if word:
                message = f"a version line names one version, a whole number from 1, not `{shortened(word)}`"
            state.report("version-line", message, span, f"write `#! initdsl {VERSION}`")
        elif line.start() > 0:
            state.report("version-line", "a version line is the first line of its file", span, "move it to line 1")
        elif number > VERSION:
            message = f"this file is written in version {number} of the language; this initdsl reads version {VERSION}"
            state.report("newer-language", message, span, "upgrade initdsl")
            return False
    return True


def _forbidden(character: str) -> str:
    name = CHARACTERS.get(character) or unicodedata.name(character, "a control character").lower()
    return f"{name} (U+{ord(character):04X}) can't stand in a rule file"


def _instead(character: str) -> str | None:
    return "lines end with `\\n` or `\\r\\n`" if character == "\r" else None
