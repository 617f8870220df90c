"""A cursor that reads units by lark's public names alone: slow, and there for versions of lark that changed inside."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lark import Lark, Token
from lark.exceptions import UnexpectedCharacters, UnexpectedToken

from .building.children import Statements
from .nodes import Block, Rule, Selector
from .state import reading

__all__ = ["PublicCursor", "ShiftingFilter"]


class ShiftingFilter:
    """Drop newlines that end no statement, and move tokens of a part of the text to where they stand in the whole."""

    always_accept = ("NL",)

    def process(self, stream: Iterator[Token]) -> Iterator[Token]:
        state = reading.state
        for token in stream:
            _shift(token, state.shift)
            if state.follow(token):
                yield token


def _shift(token: Token, by: int) -> None:
    token.start_pos = (token.start_pos or 0) + by
    token.end_pos = (token.end_pos or 0) + by


class PublicCursor:
    """A cursor in a text, as `parser.Cursor` is one. Each unit is parsed as if the text began with it."""

    def __init__(self, made: Lark, text: str) -> None:
        self._parser, self._text = made, text
        self._inside = False
        self._tokens: list[Token] = []  # of the statement so far

    def begin(self, start: int, inside: bool) -> None:
        """Go to where a unit begins, inside of a block or not."""
        self._inside = inside
        self.restart(start)

    def restart(self, start: int) -> None:
        """Drop the statement begun, and go on at `start` as if one began there."""
        self._start = start
        self._tokens = []
        self._cursor: Any = self._parser.parse_interactive(self._text[start:])
        for kind, text in (("CLASS", "*"), ("LBRACE", "{"), ("NL", "\n")) if self._inside else ():
            self._cursor.feed_token(Token(kind, text, start, end_pos=start))

    def tokens(self) -> Iterator[Token]:
        """Yield the tokens from here on; each is to be fed before the next is asked for."""
        reading.state.shift = self._start
        cursor = self._cursor
        try:
            yield from cursor.lexer_thread.lex(cursor.parser_state)
        except UnexpectedCharacters as error:
            error.pos_in_stream = (error.pos_in_stream or 0) + self._start  # type: ignore[assignment]
            raise
        except UnexpectedToken as error:  # of a token that stands nowhere here; the filter has not seen it
            _shift(error.token, self._start)
            raise

    def feed(self, token: Token) -> None:
        """Take a token. Raises UnexpectedInput."""
        self._cursor.feed_token(token)
        self._tokens.append(token)

    def _body(self) -> Statements | tuple[Rule, ...]:
        """Return the statements read so far, with what is open closed."""
        cursor = self._cursor.copy()
        if cursor.accepts() >= {"RBRACE", "TIE"}:
            cursor.feed_token(Token("RBRACE", "}", 0, end_pos=0))
        body: Statements = cursor.feed_eof()
        around = body[0]
        return around.rules if self._inside and isinstance(around, Block) else body

    def statement(self) -> Rule:
        """Return the statement that the token fed last has ended."""
        return self._body()[-1]

    def targets(self) -> Selector | None:
        """Return the targets of the block that the `{` fed last begins, or `None` where it begins a mapping."""
        cursor = self._cursor.copy()
        if "TIE" not in cursor.accepts():
            return None
        for _ in range(2 if self._inside else 1):
            cursor.feed_token(Token("RBRACE", "}", 0, end_pos=0))
        block: Any = cursor.feed_eof()[0]
        selector: Selector = (block.rules[0] if self._inside else block).targets
        return selector

    def reach(self) -> int:
        """Return how far the text was looked at, at most."""
        return len(self._text)

    def accepts(self) -> frozenset[str]:
        """Return the terminals that may stand here."""
        return frozenset(self._cursor.accepts())

    def values(self) -> tuple[Any, ...]:
        """Return the tokens read so far."""
        return (Statements(), *self._tokens)
