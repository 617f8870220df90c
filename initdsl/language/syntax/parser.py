"""lark, and the only code that knows its inside: the stored tables of the parser, and a cursor that reads units.

Where lark's inside is another one than is expected here, `fallback` reads the same by lark's public names, slowly.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import lark
from lark import Lark, Token, lexer
from lark.exceptions import UnexpectedInput
from lark.grammar import Rule as LarkRule
from lark.lexer import TerminalDef
from lark.parsers.lalr_analysis import Shift

from .builder import builder
from .building.children import Statements
from .fallback import PublicCursor, ShiftingFilter
from .grammar import grammar_text
from .nodes import Rule, Selector
from .state import DEFAULT_LIMITS, Limits, ParseState, TooDeep, reading

__all__ = [
    "AnyCursor",
    "Cursor",
    "accepted",
    "built_parser",
    "cursor_of",
    "parser",
    "read_tables",
    "tables_of",
    "tokenize",
]


class NewlineFilter:
    """Drop newlines that end no statement."""

    always_accept = ("NL",)

    def process(self, stream: Iterator[Token]) -> Iterator[Token]:
        return filter(reading.state.follow, stream)


# ---- the parser, and its tables as JSON: making them from the grammar takes four times as long as reading them


TABLES = Path(__file__).with_name("parse_tables.json")


# given anew when the tables are read
OURS = ("postlex", "transformer")


@lru_cache(maxsize=1)
def parser() -> Lark:
    """Return the LALR parser of the grammar, from its stored tables where they are current and lark takes them."""
    tables = read_tables(grammar_text())
    if tables is not None:
        try:
            empty = cast(Any, Lark.__new__(Lark))
            return cast(Lark, empty._load(tables, postlex=NewlineFilter(), transformer=builder()))
        except Exception:  # another lark may fail in any way
            pass
    return built_parser()


def built_parser(newlines: NewlineFilter | ShiftingFilter | None = None) -> Lark:
    """Return the same parser, made from the grammar's text.

    Where interegular is installed, lark spends seconds to look for terminals that collide: the tests do that once.
    """
    has_interegular = getattr(lexer, "has_interegular", False)
    lexer.has_interegular = False
    try:
        return Lark(
            grammar_text(),
            parser="lalr",
            lexer="contextual",
            postlex=newlines or NewlineFilter(),
            transformer=builder(),
            keep_all_tokens=True,
            maybe_placeholders=False,
            propagate_positions=False,
        )
    finally:
        lexer.has_interegular = has_interegular


def read_tables(grammar: str, place: Path = TABLES) -> dict[str, Any] | None:
    """Return what lark needs to be the parser of `grammar`; `None` where the stored tables are of another one.

    They are a copy, never the source: tables of another grammar or another lark are ignored.
    """
    try:
        stored = json.loads(place.read_bytes())
        if stored["made_for"] != _made_for(grammar):
            return None
        table = stored["data"]["parser"]["parser"]
        table["tokens"] = _numbered(table["tokens"])
        table["states"] = {int(state): _numbered(actions) for state, actions in table["states"].items()}
        return {"data": stored["data"], "memo": _numbered(stored["memo"])}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def tables_of(made: Lark, grammar: str) -> str:
    """Return the tables of a parser that was made from `grammar`, as the text that is stored."""
    data, memo = made.memo_serialize([TerminalDef, LarkRule])
    data["options"] = {key: value for key, value in data["options"].items() if key not in OURS}
    stored = {"made_for": _made_for(grammar), "data": data, "memo": memo}
    return json.dumps(stored, separators=(",", ":"), default=sorted) + "\n"


def _made_for(grammar: str) -> list[str]:
    return [lark.__version__, grammar]


def _numbered(table: dict[str, Any]) -> dict[int, Any]:
    """Return a table with the numbers as keys that JSON made strings of."""
    return {int(key): value for key, value in table.items()}


# by state and kind of token the state to go to, or how many values a rule takes, what it makes of them and its name
Table = dict[int, dict[str, int | tuple[int, Callable[[list[Any]], Any], str]]]


@lru_cache(maxsize=4)
def _table(made: Lark) -> Table:
    """Return a parser's table with each rule's own function in it: lark would look for that by the rule's symbols."""
    conf = made.parse_interactive("").parser_state.parse_conf
    return {
        state: {
            kind: to if action is Shift else (len(to.expansion), conf.callbacks[to], to.origin.name)
            for kind, (action, to) in actions.items()
        }
        for state, actions in conf.states.items()
    }


@lru_cache(maxsize=4)
def _stacks(made: Lark, inside: bool) -> tuple[list[int], list[Any]]:
    """Return a parser's stacks where a statement may begin: in no block, or inside of one."""
    parsed = made.parse_interactive("").parser_state
    reading.state = ParseState(DEFAULT_LIMITS)
    for kind, text in (("CLASS", "*"), ("LBRACE", "{")) if inside else ():
        parsed.feed_token(Token(kind, text, 0, end_pos=1))
    parsed.feed_token(Token("NL", "\n", 0, end_pos=1))
    return parsed.state_stack[:-1], parsed.value_stack[:-1]


# ---- reading units


class Cursor:
    """lark's parser in a text; it goes to where a unit begins and reads on from there."""

    def __init__(self, text: str) -> None:
        made = parser()
        self._parser = made
        self._table = _table(made)
        self._cursor: Any = made.parse_interactive(text)
        self._parsed: Any = self._cursor.parser_state
        self._states: list[int] = self._parsed.state_stack
        self._values: list[Any] = self._parsed.value_stack
        self._lexer: Any = self._cursor.lexer_thread.state

    def begin(self, start: int, inside: bool) -> None:
        """Go to where a unit begins, inside of a block or not."""
        states, values = _stacks(self._parser, inside)
        self._states[:] = states
        self._values[:] = [Statements() if isinstance(value, Statements) else value for value in values]
        self._lexer.line_ctr.char_pos, self._lexer.last_token = start, None

    def tokens(self) -> Iterator[Token]:
        """Return the tokens from here on; each is to be fed before the next is asked for."""
        return cast(Iterator[Token], self._cursor.lexer_thread.lex(self._parsed))

    def feed(self, token: Token) -> None:
        """Take a token, as lark's `feed_token` does. Raises UnexpectedInput."""
        states, values, table, kind = self._states, self._values, self._table, token.type
        while True:
            action = table[states[-1]].get(kind)
            if type(action) is int:
                states.append(action)
                values.append(token)
                return
            if action is None:
                self._parsed.feed_token(token)  # raises, and says what may stand here
                return
            size, make, name = cast("tuple[int, Callable[[list[Any]], Any], str]", action)
            taken = values[-size:] if size else []
            if size:
                del states[-size:], values[-size:]
            values.append(make(taken))
            states.append(cast(int, table[states[-1]][name]))

    def statement(self) -> Rule:
        """Return the statement that the token fed last has ended."""
        return cast(Rule, self._values[-2])

    def targets(self) -> Selector | None:
        """Return the targets of the block that the `{` fed last begins, or `None` where it begins a mapping."""
        before, targets = self._values[-3:-1]
        # in `[{` a token stands where a block has its targets
        return None if isinstance(targets, Token) or not isinstance(before, Statements) else cast(Selector, targets)

    def reach(self) -> int:
        """Return how far the text was looked at."""
        return cast(int, self._lexer.line_ctr.char_pos)

    def accepts(self) -> frozenset[str]:
        """Return the terminals that may stand here."""
        return frozenset(self._cursor.accepts())

    def values(self) -> tuple[Any, ...]:
        """Return the tokens and nodes read so far that no larger node has taken in."""
        return tuple(self._values)

    def restart(self, start: int) -> None:
        """Drop the statement begun, and go on at `start` as if one began there."""
        while not isinstance(self._values[-1], Statements):
            self._values.pop()
            self._states.pop()
        self._lexer.line_ctr.char_pos = start
        self._lexer.last_token = None


AnyCursor = Cursor | PublicCursor


def cursor_of(text: str) -> AnyCursor:
    """Return a cursor in a text."""
    return Cursor(text) if _inside_is_known() else PublicCursor(_public_parser(), text)


@lru_cache(maxsize=1)
def _inside_is_known() -> bool:
    """Whether lark's inside is as it was when this was written: whether one statement can be read."""
    try:
        text = "a.b = 1; c"
        reading.state = ParseState(DEFAULT_LIMITS, text)
        cursor = Cursor(text)
        cursor.begin(0, False)
        for token in cursor.tokens():
            cursor.feed(token)
            if token.type == "SEMICOLON":
                return cursor.statement().kind == "assign" and cursor.reach() == text.index(";") + 1
    except Exception:  # another lark may fail in any way
        pass
    return False


@lru_cache(maxsize=1)
def _public_parser() -> Lark:
    return built_parser(ShiftingFilter())


# ---- whole texts


def tokenize(text: str, limits: Limits = DEFAULT_LIMITS) -> list[Token]:
    """Return the tokens of a text that parses; comments and blanks lie in the gaps between them.

    Raises ValueError on a text with a syntax error.
    """
    reading.state = ParseState(limits, text)
    try:
        return list(parser().parse_interactive(text).iter_parse())
    except (UnexpectedInput, TooDeep):
        raise ValueError("the text has a syntax error") from None


def accepted(text: str, limits: Limits = DEFAULT_LIMITS) -> frozenset[str]:
    """Return the terminals that may come behind a text; none where it is wrong already."""
    reading.state = ParseState(limits, text)
    try:
        cursor = parser().parse_interactive(text)
        for _ in cursor.iter_parse():
            pass
        return frozenset(cursor.accepts())  # type: ignore[no-untyped-call]
    except (UnexpectedInput, TooDeep):
        return frozenset()
