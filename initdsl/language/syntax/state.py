"""The state of reading one statement: limits, mistakes, open brackets, how far the text was looked at, where it ends."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, field

from lark import Token

from initdsl.text.source import Span

from .grammar import CLOSERS, OPENERS, continuing

__all__ = ["DEFAULT_LIMITS", "ENCLOSING", "Limits", "ParseState", "Problem", "TooDeep", "reading"]


# stands for the brace of a block around what is read
ENCLOSING = Token("LBRACE", "{", 0, end_pos=0)


@dataclass(frozen=True)
class Limits:
    """What a loader accepts; each one exceeded is a clear error.

    `file_bytes` a file, `nesting` blocks and brackets within each other, `uses` files that use files, `statements` of
    all files together with every `use` written out, `literal_elements` in one list literal, `errors` reported before
    giving up, `depth` of one expression, `steps` of one path, `wildcards` among them.
    """

    file_bytes: int = 1 << 20
    nesting: int = 64
    uses: int = 16
    statements: int = 200_000
    literal_elements: int = 10_000
    errors: int = 100
    depth: int = 100
    steps: int = 1000
    wildcards: int = 64


DEFAULT_LIMITS = Limits()


# blanks, newlines and comments
GAP = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*+")


# name, message, place and hint of a mistake
Problem = tuple[str, str, Span, str | None]


@dataclass
class ParseState:
    """What is known while one statement is read: `ParseState(limits, "Linear.bias = 0", brackets=[ENCLOSING])`.

    It begins at the offset `start`; the text was looked at up to `reach`. `brackets` holds the tokens that opened a
    bracket not yet closed, a block around the statement as `ENCLOSING`; `deepest` is the most there were. `previous`
    is the type of the token read last, `gap` the end of a gap that was looked through and whether a `{` stands there;
    `shift` what to add to the offsets of tokens where a part of the text is lexed alone.
    """

    limits: Limits
    text: str = ""
    start: int = 0
    reach: int = 0
    deepest: int = 0
    problems: list[Problem] = field(default_factory=list)
    brackets: list[Token] = field(default_factory=list)
    previous: str = ""
    gap: tuple[int, bool] = (-1, False)
    shift: int = 0

    def report(self, name: str, message: str, span: Span, hint: str | None = None) -> None:
        """Add a mistake, its span cut to the text."""
        length = len(self.text)
        self.problems.append((name, message, Span(min(span.start, length), min(span.end, length)), hint))

    def follow(self, token: Token) -> bool:
        """Keep count of brackets, and return whether a token counts: all do but newlines that end no statement.

        Raises TooDeep where brackets are nested beyond the limit.
        """
        kind, brackets = token.type, self.brackets
        if kind == "NL":
            if not self.ends_statement(token.end_pos or 0):
                return False
        elif kind in OPENERS:
            brackets.append(token)
            self.deepest = max(self.deepest, len(brackets))
            if len(brackets) > self.limits.nesting:
                span = Span(token.start_pos or 0, token.end_pos or 0)
                self.report("too-deep", f"blocks and brackets are nested more than {self.limits.nesting} deep", span)
                raise TooDeep(self.problems)
        elif kind in CLOSERS and brackets and OPENERS[brackets[-1].type] == CLOSERS[kind]:
            brackets.pop()
        self.previous = kind
        return True

    def ends_statement(self, end: int) -> bool:
        """Whether a newline up to the offset `end` ends the statement: not within `(` or `[`, nor behind a terminal
        that asks for more, nor before a `{`. A mapping's `{` does not matter where a `(` or `[` stands around it.
        """
        brackets = self.brackets
        if self.previous in continuing() or (brackets and brackets[-1].type != "LBRACE"):
            return False
        return not any(bracket.type != "LBRACE" for bracket in brackets) and not self.brace_follows(end)

    def brace_follows(self, offset: int) -> bool:
        """Whether nothing but blanks, newlines and comments stands between an offset and a `{`.

        A gap is read once however many newlines it has, or a file of comments would take quadratic time.
        """
        if offset > self.gap[0]:
            match = GAP.match(self.text, offset)
            end = match.end() if match else offset
            self.gap = end, self.text.startswith("{", end)
        self.reach = max(self.reach, self.gap[0] + 1)
        return self.gap[1]

    def before(self, offset: int) -> str:
        """Return up to 200 characters before an offset that belong to the statement."""
        return self.text[max(self.start, offset - 200) : offset]


class Reading(threading.local):
    """What each thread is reading; lark hands nothing else to its callbacks."""

    state: ParseState


reading = Reading()


class TooDeep(Exception):
    """Brackets nested beyond the limit; the parse ends here."""

    def __init__(self, problems: list[Problem]):
        self.problems = problems
