"""The grammar, `grammar/initdsl.lark`, and what is read off its text: keywords, terminals, where a statement goes on."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

__all__ = [
    "CLOSERS",
    "OPENERS",
    "continuing",
    "grammar_text",
    "keywords",
    "statement_words",
    "terminals",
    "terminals_in",
    "words_of",
]

# the packaged file, or the one of a source checkout
PLACES = [Path(__file__).parents[depth] / "grammar" / "initdsl.lark" for depth in (2, 3)]


# the terminals that open and close a bracket, and the character that opens it
OPENERS = {"LPAR": "(", "LPAR_GLUED": "(", "LSQB": "[", "LSQB_GLUED": "[", "LBRACE": "{"}


CLOSERS = {"RPAR": "(", "RSQB": "[", "RBRACE": "{"}


@lru_cache(maxsize=1)
def grammar_text() -> str:
    """Return the text of the grammar."""
    return next(place for place in PLACES if place.is_file()).read_text("utf-8")


@lru_cache(maxsize=1)
def keywords() -> tuple[str, ...]:
    """Return every reserved word, in the order of the grammar."""
    return tuple(re.findall(r"^[A-Z]+: /([a-z]+)\(\?!\\w\)/$", grammar_text(), re.MULTILINE))


@lru_cache(maxsize=1)
def terminals() -> dict[str, str]:
    """Return the regular expression of every terminal, by its name."""
    rows = re.findall(r'^([A-Z_]+)(?:\.\d+)?: (?:/(.*)/|"(.*)")$', grammar_text(), re.MULTILINE)
    return {name: pattern.replace(r"\/", "/") if pattern else re.escape(text) for name, pattern, text in rows}


@lru_cache(maxsize=8)
def terminals_in(alias: str) -> frozenset[str]:
    """Return the terminals in the alternatives of the grammar that become one kind of node, such as `binary`."""
    alternatives = re.findall(rf"^[^\n/]*-> {alias}$", grammar_text(), re.MULTILINE)
    return frozenset(re.findall(r"\b[A-Z_]+\b", "\n".join(alternatives)))


@lru_cache(maxsize=1)
def continuing() -> frozenset[str]:
    """Return the terminals behind which a statement goes on in the next line: all that ask for another operand.

    This is the one list of them. Where a statement ends, for the parser, is `ParseState.ends_statement`.
    """
    return terminals_in("binary") | terminals_in("unary") | {"COMMA", "IN"}


@lru_cache(maxsize=4)
def words_of(terminal: str) -> tuple[str, ...]:
    """Return the words that a terminal is one of: `covered` and `finite` of `STATE`."""
    match = re.search(r"[a-z]\w*(?:\|[a-z]\w*)*", terminals()[terminal])
    return tuple(match[0].split("|")) if match else ()


@lru_cache(maxsize=1)
def statement_words() -> tuple[str, ...]:
    """Return the keywords that begin a statement: those that open the rule of their own name, in its order."""
    rules = re.findall(r"^([a-z]+): ([A-Z]+) ", grammar_text(), re.MULTILINE)
    return tuple(rule for rule, terminal in rules if rule.upper() == terminal)
