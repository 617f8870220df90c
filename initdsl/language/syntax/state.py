"""What is read in one go: the limits, what was found wrong, which brackets are open, how far the text was looked at."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, field

from lark import Token

from initdsl.text.source import Span

__all__ = ["CLOSERS", "DEFAULT_LIMITS", "ENCLOSING", "OPENERS", "Limits", "Problem", "Session", "TooDeep", "reading"]


OPENERS = {"LPAR": "(", "LPAR_GLUED": "(", "LSQB": "[", "LSQB_GLUED": "[", "LBRACE": "{"}


CLOSERS = {"RPAR": "(", "RSQB": "[", "RBRACE": "{"}


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


GAP = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*+")


# name, message, place and hint of a mistake
Problem = tuple[str, str, Span, str | None]


@dataclass
class Session:
    """What is read in one go: what was found wrong, which brackets are open, and how far the text was looked at."""

    limits: Limits
    text: str = ""
    start: int = 0
    reach: int = 0
    deepest: int = 0
    problems: list[Problem] = field(default_factory=list)
    brackets: list[Token] = field(default_factory=list)
    previous: str = ""
    gap: tuple[int, bool] = (-1, False)

    def report(self, name: str, message: str, span: Span, hint: str | None = None) -> None:
        length = len(self.text)
        self.problems.append((name, message, Span(min(span.start, length), min(span.end, length)), hint))

    def brace_follows(self, at: int) -> bool:
        """Whether nothing but blanks, newlines and comments stands between `at` and a `{`.

        A gap is read once however many newlines it has, or a file of comments would take quadratic time.
        """
        if at > self.gap[0]:
            match = GAP.match(self.text, at)
            end = match.end() if match else at
            self.gap = end, self.text.startswith("{", end)
        self.reach = max(self.reach, self.gap[0] + 1)
        return self.gap[1]

    def before(self, at: int) -> str:
        """What stands before a place, as far as it belongs to what is read."""
        return self.text[max(self.start, at - 200) : at]


class Reading(threading.local):
    """What each thread is reading; lark hands nothing else to its callbacks."""

    session: Session


reading = Reading()


class TooDeep(Exception):
    """Brackets nested beyond the limit; the parse ends here."""

    def __init__(self, problems: list[Problem]):
        self.problems = problems
