"""Where reading goes on behind a syntax error."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import cast

from lark import Token
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from .building.children import spanned
from .explanations import SHOWN_NUMBERS, Mistake, explain
from .grammar import OPENERS, continuing, terminals
from .parser import AnyCursor
from .state import ENCLOSING, ParseState

__all__ = ["recover"]


CLOSER_OF = {"(": ")", "[": "]", "{": "}"}


# behind one of these stands an expression, in front of it a selector
OPERATORS = frozenset(("DRAW", "SET", "EDIT", "COMPARE"))


# what these are written with ends a selector too: `net.*`, `Linear+`, `/attn/`
ENDS_SELECTORS = frozenset(("STAR", "POWER", "PLUS", "SLASH", "FLOOR_DIVIDE"))


def recover(error: UnexpectedInput, cursor: AnyCursor, text: str, state: ParseState, depth: int) -> int:
    """Report a syntax error inside `depth` blocks, and take the cursor to where reading goes on.

    Returns the offset where the statement with the error ends.
    """
    at, token = _place(error)
    state.reach = max(state.reach, at, cursor.reach())
    own = state.brackets[depth:]
    openers = [b for b in own if b.type != "LBRACE" and (b.start_pos or 0) < at]
    values = cursor.values()
    in_expression = any(isinstance(value, Token) and value.type in OPERATORS for value in values)
    numbers = SHOWN_NUMBERS.match(text, at)  # their brace begins no block
    end, unclosed = _statement_end(text, numbers.end() if numbers else at, openers, in_expression, state)
    if unclosed is None and token is not None and at >= len(text):
        unclosed = next((b for b in reversed(own) if b.type == "LBRACE"), None)
    if unclosed is not None and text[at : at + 1] != '"':  # a string without an end hides the brackets behind it
        opener = OPENERS[unclosed.type]
        hint = f"close it with `{CLOSER_OF[opener]}`"
        state.report("unclosed-bracket", f"`{opener}` is never closed", spanned(unclosed, unclosed), hint)
    else:
        state.report(*explain(Mistake(at, token, text, cursor.accepts(), values, state)))
    state.brackets[:] = [ENCLOSING] * depth
    state.previous = ""
    if token is not None and token.type == "RBRACE" and not depth:
        end = at + 1
    cursor.restart(end)
    return end


def _place(error: UnexpectedInput) -> tuple[int, Token | None]:
    """Return the offset of an error, and the token there if there is one."""
    if isinstance(error, UnexpectedToken):
        return error.token.start_pos or 0, error.token
    assert isinstance(error, UnexpectedCharacters)
    return cast(int, error.pos_in_stream), None


SCAN = re.compile(r'"(?:\\.|[^"\\\n])*"?|#[^\n]*|[()\[\]{};\n]')


@lru_cache(maxsize=2)
def _going_on(in_expression: bool) -> re.Pattern[str]:
    """Return what ends a line whose statement goes on."""
    names = continuing() if in_expression else continuing() - ENDS_SELECTORS
    patterns = (terminals()[name] for name in sorted(names))
    # a word is not the end of another one
    wholes = (rf"(?<![\w.]){pattern}" if pattern[0].isalpha() else pattern for pattern in patterns)
    return re.compile(rf"(?:{'|'.join(wholes)})\s*\Z")


def _statement_end(
    text: str, at: int, openers: list[Token], in_expression: bool, state: ParseState
) -> tuple[int, Token | None]:
    """Return where the statement around `at` ends; and the bracket that is never closed, if that is why it doesn't."""
    depth, end, goes_on = len(openers), at, False
    for match in SCAN.finditer(text, at):
        character = match[0][0]
        code, end = text[end : match.start()], match.end()
        state.reach = max(state.reach, end)
        if code.strip():
            in_expression = in_expression or (depth == 0 and re.search("[~=]", code) is not None)
            goes_on = _going_on(in_expression).search(code) is not None
        if character in "([":
            depth += 1
        elif character in ")]":
            depth = max(0, depth - 1)
        elif character in "{}" or (depth == 0 and _ends(character, end, goes_on, state)):
            if depth and openers:
                break
            return match.start(), None
        goes_on = goes_on and character in "#\n"
    else:
        if not (depth and openers):
            return len(text), None
    opener = openers[-1]
    line_end = text.find("\n", opener.start_pos or 0)
    return (len(text) if line_end < 0 else line_end), opener


def _ends(character: str, end: int, goes_on: bool, state: ParseState) -> bool:
    """Whether a `;` or newline outside of brackets ends its statement, as `ParseState.ends_statement` has it."""
    return character == ";" or (character == "\n" and not goes_on and not state.brace_follows(end))
