"""lark, and the only code that knows its inside: tokens, tables and states of the parser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, cast

from lark import Lark, Token, lexer
from lark.exceptions import UnexpectedInput
from lark.parsers.lalr_analysis import Shift

from .builder import Builder
from .grammar import grammar_text
from .parse_tables import read_tables
from .state import DEFAULT_LIMITS, Limits, ParseState, TooDeep, reading

__all__ = ["accepted", "built_parser", "feed", "parse_table", "parser", "stacks", "tokenize"]


class NewlineFilter:
    """Drop newlines that end no statement."""

    always_accept = ("NL",)

    def process(self, stream: Iterator[Token]) -> Iterator[Token]:
        return filter(reading.state.follow, stream)


# ---- the parser


@lru_cache(maxsize=1)
def parser() -> Lark:
    """The LALR parser of the grammar, from its stored tables where they are current."""
    grammar = grammar_text()
    tables = read_tables(grammar)
    if tables is None:
        return built_parser()
    return cast(Any, Lark.__new__(Lark))._load(tables, postlex=NewlineFilter(), transformer=Builder())  # type: ignore[no-any-return]


def built_parser() -> Lark:
    """The same parser, made from the grammar's text.

    Where interegular is installed, lark spends seconds to look for terminals that collide: the tests do that once.
    """
    before, lexer.has_interegular = lexer.has_interegular, False
    try:
        return Lark(
            grammar_text(), parser="lalr", lexer="contextual", postlex=NewlineFilter(), transformer=Builder(),
            keep_all_tokens=True, maybe_placeholders=False, propagate_positions=False,
        )  # fmt: skip
    finally:
        lexer.has_interegular = before


@lru_cache(maxsize=4)
def stacks(made: Lark, inside: bool) -> tuple[list[int], list[Any]]:
    """A parser's stacks where a statement may begin: in no block, or inside of one."""
    state = made.parse_interactive("").parser_state
    reading.state = ParseState(DEFAULT_LIMITS)
    for kind, text in (("CLASS", "*"), ("LBRACE", "{")) if inside else ():
        state.feed_token(Token(kind, text, 0, end_pos=1))
    state.feed_token(Token("NL", "\n", 0, end_pos=1))
    return state.state_stack[:-1], state.value_stack[:-1]


# by state and kind of token the state to go to, or how many values a rule takes, what it makes of them and its name
Table = dict[int, dict[str, int | tuple[int, Callable[[list[Any]], Any], str]]]


@lru_cache(maxsize=4)
def parse_table(made: Lark) -> Table:
    """A parser's table with each rule's own function in it: lark would look for that by the rule's symbols, every time."""
    conf = made.parse_interactive("").parser_state.parse_conf
    return {
        state: {
            kind: to if action is Shift else (len(to.expansion), conf.callbacks[to], to.origin.name)
            for kind, (action, to) in actions.items()
        }
        for state, actions in conf.states.items()
    }


def feed(table: Table, state: Any, token: Token) -> None:
    """What lark's `feed_token` does, by its table made ready."""
    states, values, kind = state.state_stack, state.value_stack, token.type
    while True:
        action = table[states[-1]].get(kind)
        if type(action) is int:
            states.append(action)
            values.append(token)
            return
        if action is None:
            state.feed_token(token)  # raises, and says what may stand here
            return
        size, make, name = cast("tuple[int, Callable[[list[Any]], Any], str]", action)
        taken = values[-size:] if size else []
        if size:
            del states[-size:], values[-size:]
        values.append(make(taken))
        states.append(cast(int, table[states[-1]][name]))


def tokenize(text: str, limits: Limits = DEFAULT_LIMITS) -> list[Token]:
    """The tokens of a text that parses; comments and blanks lie in the gaps between them.

    Raises ValueError on a text with a syntax error.
    """
    reading.state = ParseState(limits, text)
    try:
        cursor = parser().parse_interactive(text)
        return list(cursor.iter_parse())
    except (UnexpectedInput, TooDeep):
        raise ValueError("the text has a syntax error") from None


def accepted(text: str, limits: Limits = DEFAULT_LIMITS) -> frozenset[str]:
    """The terminals that may come behind a text; none where it is wrong already."""
    reading.state = ParseState(limits, text)
    try:
        cursor = parser().parse_interactive(text)
        for _ in cursor.iter_parse():
            pass
        return frozenset(cursor.accepts())  # type: ignore[no-untyped-call]
    except (UnexpectedInput, TooDeep):
        return frozenset()
