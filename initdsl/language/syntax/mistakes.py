"""What a syntax error is in words, and where reading goes on behind it."""

from __future__ import annotations

import re
import unicodedata
from typing import Any, cast

from lark import Token
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from initdsl.text.source import Span
from initdsl.text.wording import did_you_mean, listed, shortened

from .builder import Statements, spanned
from .grammar import keywords
from .state import ENCLOSING, OPENERS, Session

__all__ = ["recover"]


# operators of other languages
# the words that statements begin with
STATEMENT_WORDS = ("tie", "copy", "keep", "default", "let", "use", "expect")


ELSEWHERE = {"^": "a power is `**`", "&": "write `and`", "|": "write `or`", "?": "write `where(condition, a, b)`"}


# what belongs to a selector, and touches what stands before it
GLUED = {"[": "LSQB_GLUED", "(": "LPAR_GLUED", ".": "DOT", "+": "PLUS_GLUED", "?": "MAYBE"}


CLOSER_OF = {"(": ")", "[": "]", "{": "}"}


BINARY = frozenset(["PLUS", "MINUS", "STAR", "SLASH", "FLOOR_DIVIDE", "PERCENT", "POWER", "COMPARE", "AND", "OR"])


NAMES = {
    "RPAR": "`)`", "RSQB": "`]`", "RBRACE": "`}`", "LBRACE": "`{`", "COMMA": "`,`", "COLON": "`:`", "SET": "`=`",
    "STRING": "a string", "LPAR_GLUED": "`(`", "STEP": "a name", "NAME": "a name", "IN": "`in`", "LPAR": "`(`",
}  # fmt: skip


def recover(error: UnexpectedInput, text: str, session: Session, depth: int) -> int:
    """Report a syntax error inside so many blocks, and take the parser back to where its statement began.

    Returns where that ends.
    """
    cursor: Any = cast(Any, error).interactive_parser
    state, thread = cursor.parser_state, cursor.lexer_thread.state
    at, token = _place(error)
    session.reach = max(session.reach, at, thread.line_ctr.char_pos)
    own = session.brackets[depth:]
    openers = [b for b in own if b.type != "LBRACE" and (b.start_pos or 0) < at]
    end, unclosed = _statement_end(text, at, openers, session)
    if unclosed is None and token is not None and at >= len(text):
        unclosed = next((b for b in reversed(own) if b.type == "LBRACE"), None)
    if unclosed is not None and text[at : at + 1] != '"':  # a string without an end hides the brackets behind it
        opener = OPENERS[unclosed.type]
        session.report(
            "unclosed-bracket", f"`{opener}` is never closed", spanned(unclosed, unclosed),
            f"close it with `{CLOSER_OF[opener]}`",
        )  # fmt: skip
    else:
        session.report(*_explain(at, token, cursor, text, session))
    while not isinstance(state.value_stack[-1], Statements):
        state.value_stack.pop()
        state.state_stack.pop()
    session.brackets[:] = [ENCLOSING] * depth
    session.previous = ""
    if token is not None and token.type == "RBRACE" and not depth:
        end = at + 1
    thread.line_ctr.char_pos = end
    thread.last_token = None
    return end


def _place(error: UnexpectedInput) -> tuple[int, Token | None]:
    if isinstance(error, UnexpectedToken):
        return error.token.start_pos or 0, error.token
    assert isinstance(error, UnexpectedCharacters)
    return cast(int, error.pos_in_stream), None


SCAN = re.compile(r'"(?:\\.|[^"\\\n])*"?|#[^\n]*|[()\[\]{};\n]')


def _statement_end(text: str, at: int, openers: list[Token], session: Session) -> tuple[int, Token | None]:
    """Where the statement around `at` ends; and the bracket that is never closed, if that is why it doesn't."""
    depth = len(openers)
    for match in SCAN.finditer(text, at):
        character = match[0]
        session.reach = max(session.reach, match.end())
        if character in "([":
            depth += 1
        elif character in ")]":
            depth = max(0, depth - 1)
        elif character in "{}" or (depth == 0 and character in ";\n"):
            if depth and openers:
                break
            return match.start(), None
    else:
        if not (depth and openers):
            return len(text), None
    opener = openers[-1]
    line_end = text.find("\n", opener.start_pos or 0)
    return (len(text) if line_end < 0 else line_end), opener


def _explain(
    at: int, token: Token | None, cursor: Any, text: str, session: Session
) -> tuple[str, str, Span, str | None]:
    """Name, message, span and hint for what stands at `at`."""
    found = text[at : at + 1]
    rest = text[at:]
    span = Span(at, (token.end_pos or at + 1) if token is not None and token.type != "NL" else at + 1)
    accepts = cursor.accepts()
    previous = session.previous
    glob = re.match(r"(\*{1,2})=(?!=)", rest)
    if glob and at and text[at - 1] == ".":
        what = f"a `*` directly before `=` belongs to the operator `{glob[0][-2:]}`"
        return "bad-operator", what, Span(at, at + glob.end()), f"write `.{glob[1]} =`, with a space"
    if rest.startswith("**="):
        return (
            "bad-operator",
            "`**=` is not an operator",
            Span(at, at + 3),
            "put a space before `*=` to multiply what `*` selects",
        )
    if rest.startswith("//="):
        return "bad-operator", "`//=` is not an operator", Span(at, at + 3), "edits are `+=`, `-=`, `*=` and `/=`"
    if token is None:
        if found == '"':
            end = rest.find("\n")
            return (
                "unclosed-string",
                'the string is not closed with `"`',
                Span(at, at + (end if end >= 0 else len(rest))),
                None,
            )
        if found == "'":
            return (
                "bad-character",
                "`'` does not begin a string",
                Span(at, at + 1),
                'strings take double quotes: `"..."`',
            )
        if found == "?" and not (at and text[at - 1] in " \t"):
            return "bad-character", "`?` stands at the very end of a selector", Span(at, at + 1), None
        name = unicodedata.name(found, "")
        if not found.isascii() or not found.isprintable():
            shown = (
                f"`{found}` ({name.lower()}, U+{ord(found):04X})"
                if found.isprintable()
                else f"{name.lower() or 'a control character'} (U+{ord(found):04X})"
            )
            return "bad-character", f"{shown} can't stand here", Span(at, at + 1), None
    ended = "DRAW" in accepts and re.search(r"[\w\])*+][ \t]+\Z", session.before(at)) is not None
    if (found in ".[(+" and at and text[at - 1] == "?") or (
        re.match(r"(?:in|not|as)\b", rest) and re.search(r"\?[ \t]+\Z", session.before(at))
    ):
        return (
            "unexpected-token",
            "`?` stands at the very end of a selector",
            span,
            "move it there, as in `net.head.bias?`",
        )
    apart = re.match(r"([-+*/])[ \t]+=", rest)
    if apart and "SET" in accepts:
        return "bad-operator", f"`{apart[0]}` is no operator", Span(at, at + apart.end()), f"write `{apart[1]}=`"
    if found in GLUED and at and text[at - 1] in " \t" and (GLUED[found] in accepts or ended):
        return "stray-space", f"a space stands before `{found}`", Span(at, at + 1), "write it directly behind the name"
    if token is not None and token.type == "COMPARE":
        if "SET" in accepts and found == "=":
            return "bad-operator", "`==` compares", span, "to set a value write `=`"
        if previous and "COMPARE" not in accepts and _compared(cursor):
            return "chained-comparison", "comparisons don't chain", span, "join two with `and`"
    if found == ":" and "SET" in accepts:
        return "bad-operator", "`:` does not set a value", Span(at, at + 1), "write `=` for a value, `~` for a draw"
    if found == "," and _operands(cursor):
        return "unexpected-comma", "the operands are separated by spaces", span, "leave out the `,`"
    if rest.startswith("//"):
        return "bad-comment", "`//` does not begin a comment", Span(at, at + 2), "comments begin with `#`"
    if "NL" in accepts and "TIE" not in accepts and (instead := ELSEWHERE.get(found)):
        return "bad-operator", f"`{found}` is no operator", Span(at, at + 1), instead
    shown = _found(token, found, text)
    word = re.match(r"\w+", rest)
    if "MEASURE" in accepts and "DRAW" not in accepts:
        return _expectation(word[0] if word else "", shown, span)
    if accepts == {"LSQB"}:
        return "bad-expectation", f"expected a range, found {shown}", span, "as in `std in [0.009, 0.011]`"
    if word and "SET" in accepts and "DRAW" in accepts:
        before = _last_word(session.before(at))
        # `net`, which any selector may be, is as near to `let` as a slip would be
        meant = did_you_mean(before, STATEMENT_WORDS) if before != "net" else None
        if meant is not None:
            return "unexpected-token", f"expected `~`, `=` or an edit such as `+=`, found {shown}", span, meant
    hint = None
    if re.match(r"\r?\n[ \t]+\S", rest) and re.search(r"[~=][ \t]*\Z", session.before(at)):
        hint = "a value begins in the line of its operator, and may go on in the next inside brackets"
    elif word and word[0] == "not" and "NOT_MARK" in accepts:
        hint = "write `!` directly before the name"
    elif accepts == {"STRING"}:
        hint = 'write it as a string: `use "base.init"`'
    elif word and word[0] == "if" and "NL" in accepts:
        hint = "write `where(condition, a, b)`"
    elif word and word[0] in keywords() and "NAME" in accepts:
        hint = f"`{word[0]}` is reserved; take another name"
    elif word and word[0] in keywords() and "CLASS" in accepts:
        hint = f"`{word[0]}` is reserved; after a dot it is fine, as in `net.{word[0]}`"
    elif previous == "NAME" and token is not None and token.type in ("NUMBER", "NAME") and "LPAR_GLUED" in accepts:
        hint = f"a call has parentheses: `{_last_word(session.before(at))}(...)`"
    return "unexpected-token", f"expected {_expected(accepts)}, found {shown}", span, hint


def _expectation(word: str, shown: str, span: Span) -> tuple[str, str, Span, str | None]:
    """What is wrong behind the selector of an `expect`."""
    compared, states = ["mean", "std", "min", "max", "norm", "values", "shape"], ["covered", "finite"]
    if word in compared:
        return (
            "bad-expectation",
            f"`{word}` is compared with something",
            span,
            f"as in `{word} in [a, b]` or `{word} < x`",
        )
    words = [*compared, *states]
    hint = did_you_mean(word, words) or f"one of {listed(words, len(words))}"
    return "bad-expectation", f"expected what is to hold, found {shown}", span, hint


def _compared(cursor: Any) -> bool:
    return any(isinstance(v, Token) and v.type == "COMPARE" for v in cursor.parser_state.value_stack[-3:])


def _operands(cursor: Any) -> bool:
    for value in reversed(cursor.parser_state.value_stack):
        if isinstance(value, Statements):
            return False
        if isinstance(value, Token) and value.type in ("TIE", "COPY"):
            return True
    return False


def _last_word(before: str) -> str:
    match = re.search(r"(\w+)\s*\Z", before)
    return match[1] if match else ""


def _found(token: Token | None, found: str, text: str) -> str:
    if token is not None and token.type == "NL":
        return "the end of the line" if (token.start_pos or 0) < len(text) else "the end of the text"
    return f"`{shortened(str(token))}`" if token is not None else f"`{found}`"


def _expected(accepts: set[str]) -> str:
    """What the grammar takes next, in words, most telling first."""
    words: list[str] = []
    if "TIE" in accepts:
        words.append("a statement")
    elif "NUMBER" in accepts:
        words.append("a value")
    elif "CLASS" in accepts:
        words.append("a selector")
    if "DRAW" in accepts:
        words += ["`~`", "`=`", "an edit such as `+=`"]
    structural = ["RPAR", "RSQB", "COMMA", "COLON", "RBRACE"] if not words or "TIE" not in accepts else ["RBRACE"]
    if "NUMBER" not in accepts:
        structural += ["STRING", "NAME", "STEP"] if "TIE" not in accepts and "CLASS" not in accepts else []
    if "DRAW" not in accepts:
        structural += ["SET"]
    if "LPAR_GLUED" in accepts and len(accepts) <= 2:
        structural += ["LPAR_GLUED"]
    words += [NAMES[kind] for kind in structural if kind in accepts]
    words = list(dict.fromkeys(words))
    if "NL" in accepts and "TIE" not in accepts and "DRAW" not in accepts:
        words.append("the end of the statement")
    if not words and BINARY & accepts:
        words.append("an operator")
    if not words:
        words = sorted(NAMES.get(kind, kind.lower()) for kind in accepts if kind != "$END") or ["the end of the text"]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
