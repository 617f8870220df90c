"""What a syntax error is in words: a list of explanations, of which the first that fits is given."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lark import Token

from initdsl.text.source import Span
from initdsl.text.wording import did_you_mean, listed, shortened

from .building.children import Statements
from .grammar import keywords, statement_words, terminals_in, words_of
from .state import ParseState, Problem

__all__ = ["SHOWN_NUMBERS", "Mistake", "explain"]


# operators of other languages
ELSEWHERE = {"^": "a power is `**`", "&": "write `and`", "|": "write `or`", "?": "write `where(condition, a, b)`"}


# what belongs to a selector, and touches what stands in front of it
GLUED = {"[": "LSQB_GLUED", "(": "LPAR_GLUED", ".": "DOT", "+": "PLUS_GLUED", "?": "MAYBE"}


NAMES = {
    "RPAR": "`)`", "RSQB": "`]`", "RBRACE": "`}`", "LBRACE": "`{`", "COMMA": "`,`", "COLON": "`:`", "SET": "`=`",
    "STRING": "a string", "LPAR_GLUED": "`(`", "STEP": "a name", "NAME": "a name", "IN": "`in`", "LPAR": "`(`",
}  # fmt: skip


@dataclass(frozen=True)
class Mistake:
    """A place where the grammar takes something else: in `A.w = )` the `)` at offset 6.

    `token` is `None` where no token begins. `accepts` holds the terminals that may stand here, and `values` what was
    read in front of it: tokens and nodes.
    """

    at: int
    token: Token | None
    text: str
    accepts: frozenset[str]
    values: tuple[Any, ...]
    state: ParseState

    @property
    def character(self) -> str:
        """The character that stands here."""
        return self.text[self.at : self.at + 1]

    @property
    def previous_character(self) -> str:
        return self.text[self.at - 1 : self.at] if self.at else ""

    @property
    def span(self) -> Span:
        """The token, or one character where there is none or it is a newline."""
        token = self.token
        return Span(self.at, (token.end_pos or self.at + 1) if token and token.type != "NL" else self.at + 1)

    @property
    def word(self) -> str:
        """The word that begins here; `""` for none."""
        match = self.match(r"\w+")
        return match[0] if match else ""

    @property
    def shown(self) -> str:
        """What stands here, as a message shows it."""
        if self.token is None:
            return f"`{self.character}`"
        if self.token.type == "NL":
            return "the end of the line" if self.at < len(self.text) else "the end of the text"
        return f"`{shortened(str(self.token))}`"

    def match(self, pattern: str) -> re.Match[str] | None:
        """Match a pattern at this place."""
        return re.compile(pattern).match(self.text, self.at)

    def behind(self, pattern: str) -> re.Match[str] | None:
        """Search a pattern in what stands in front of this place and belongs to the statement."""
        return re.search(pattern, self.state.before(self.at))

    def chars(self, count: int) -> Span:
        """The first `count` characters from here."""
        return Span(self.at, self.at + count)


def explain(mistake: Mistake) -> Problem:
    """Return the name, message, span and hint of a mistake."""
    for explanation in EXPLANATIONS:
        if (problem := explanation(mistake)) is not None:
            return problem
    message = f"expected {_expected(mistake.accepts)}, found {mistake.shown}"
    return "unexpected-token", message, mistake.span, _hint(mistake)


# how a plan writes layer numbers: `layers.{0..3}.weight`
SHOWN_NUMBERS = re.compile(r"\{(\d+)(?:\.\.(\d+)|(?:,\d+)+)\}")


def _ranges(mistake: Mistake) -> Problem | None:
    """`net.layers[0..3]`, `net.layers.{0..3}`, which a plan writes."""
    if (last := mistake.match(r"\.(\d+)")) and (first := mistake.behind(r"(\d+)\.\Z")):
        span = Span(mistake.at - len(first[0]), mistake.at + len(last[0]))
        return "unexpected-token", f"`{first[1]}..{last[1]}` is no range", span, _range(first[1], last[1])
    shown = SHOWN_NUMBERS.match(mistake.text, mistake.at)
    if shown and mistake.previous_character == ".":
        hint = _range(shown[1], shown[2]) if shown[2] else "write a rule for each, or `*` for all"
        return "unexpected-token", f"`{shown[0]}` is how plans are shown", mistake.chars(len(shown[0])), hint
    return None


def _range(first: str, last: str) -> str:
    return f"a range is `[{first}:{int(last) + 1}]`, as in `net.layers[{first}:{int(last) + 1}]`"


def _edit_operators(mistake: Mistake) -> Problem | None:
    """`net.*= 2`, `**=`, `//=`."""
    glob = mistake.match(r"(\*{1,2})=(?!=)")
    if glob and mistake.previous_character == ".":
        message = f"a `*` directly before `=` belongs to the operator `{glob[0][-2:]}`"
        return "bad-operator", message, mistake.chars(len(glob[0])), f"write `.{glob[1]} =`, with a space"
    if mistake.match(r"\*\*="):
        hint = "put a space before `*=` to multiply what `*` selects"
        return "bad-operator", "`**=` is not an operator", mistake.chars(3), hint
    if mistake.match("//="):
        return "bad-operator", "`//=` is not an operator", mistake.chars(3), "edits are `+=`, `-=`, `*=` and `/=`"
    return None


def _characters(mistake: Mistake) -> Problem | None:
    """What begins no token: an unclosed string, `'`, `?` astray, letters of other scripts."""
    if mistake.token is not None:
        return None
    character = mistake.character
    if character == '"':
        end = mistake.text.find("\n", mistake.at)
        span = Span(mistake.at, end if end >= 0 else len(mistake.text))
        return "unclosed-string", 'the string is not closed with `"`', span, None
    if character == "'":
        return "bad-character", "`'` does not begin a string", mistake.chars(1), 'strings take double quotes: `"..."`'
    if character == "?" and mistake.previous_character not in (" ", "\t"):
        return "bad-character", "`?` stands at the very end of a selector", mistake.chars(1), None
    if character.isascii() and character.isprintable():
        return None
    name, code = unicodedata.name(character, "").lower(), f"U+{ord(character):04X}"
    shown = (
        f"`{character}` ({name}, {code})" if character.isprintable() else f"{name or 'a control character'} ({code})"
    )
    return "bad-character", f"{shown} can't stand here", mistake.chars(1), None


def _maybe_too_early(mistake: Mistake) -> Problem | None:
    """`net.a?[0]`, `net.a? in net`."""
    touching = mistake.character in (".", "[", "(", "+") and mistake.previous_character == "?"
    if touching or (mistake.match(r"(?:in|not|as)\b") and mistake.behind(r"\?[ \t]+\Z")):
        message = "`?` stands at the very end of a selector"
        return "unexpected-token", message, mistake.span, "move it there, as in `net.head.bias?`"
    return None


def _spaces(mistake: Mistake) -> Problem | None:
    """`A.w + = 1`, `net [2]`."""
    accepts, character = mistake.accepts, mistake.character
    apart = mistake.match(r"([-+*/])[ \t]+=")
    if apart and "SET" in accepts:
        return "bad-operator", f"`{apart[0]}` is no operator", mistake.chars(len(apart[0])), f"write `{apart[1]}=`"
    if character in GLUED and mistake.previous_character in (" ", "\t"):
        ended = "DRAW" in accepts and mistake.behind(r"[\w\])*+][ \t]+\Z")
        if GLUED[character] in accepts or ended:
            message = f"a space stands before `{character}`"
            return "stray-space", message, mistake.chars(1), "write it directly behind the name"
    return None


def _comparisons(mistake: Mistake) -> Problem | None:
    """`A.w == 1`, `a < b < c`."""
    if mistake.token is None or mistake.token.type != "COMPARE":
        return None
    if "SET" in mistake.accepts and mistake.character == "=":
        return "bad-operator", "`==` compares", mistake.span, "to set a value write `=`"
    compared = any(isinstance(value, Token) and value.type == "COMPARE" for value in mistake.values[-3:])
    if mistake.state.previous and "COMPARE" not in mistake.accepts and compared:
        return "chained-comparison", "comparisons don't chain", mistake.span, "join two with `and`"
    return None


def _other_languages(mistake: Mistake) -> Problem | None:
    """`A.w: 1`, `tie a, b`, `// comment`, `a ^ b`."""
    character, accepts = mistake.character, mistake.accepts
    if character == ":" and "SET" in accepts:
        hint = "write `=` for a value, `~` for a draw"
        return "bad-operator", "`:` does not set a value", mistake.chars(1), hint
    if character == "," and _among_operands(mistake.values):
        return "unexpected-comma", "the operands are separated by spaces", mistake.span, "leave out the `,`"
    if mistake.match("//"):
        return "bad-comment", "`//` does not begin a comment", mistake.chars(2), "comments begin with `#`"
    if character in ELSEWHERE and "NL" in accepts and "TIE" not in accepts:
        return "bad-operator", f"`{character}` is no operator", mistake.chars(1), ELSEWHERE[character]
    return None


def _among_operands(values: tuple[Any, ...]) -> bool:
    """Whether the statement being read is a `tie` or a `copy`."""
    for value in reversed(values):
        if isinstance(value, Statements):
            return False
        if isinstance(value, Token) and value.type in ("TIE", "COPY"):
            return True
    return False


def _expectations(mistake: Mistake) -> Problem | None:
    """What is wrong behind the selector of an `expect`."""
    accepts, word = mistake.accepts, mistake.word
    if accepts == {"LSQB"}:
        message = f"expected a range, found {mistake.shown}"
        return "bad-expectation", message, mistake.span, "as in `std in [0.009, 0.011]`"
    if "MEASURE" not in accepts or "DRAW" in accepts:
        return None
    measures, states = words_of("MEASURE"), words_of("STATE")
    if word in measures:
        hint = f"as in `{word} in [a, b]` or `{word} < x`"
        return "bad-expectation", f"`{word}` is compared with something", mistake.span, hint
    if word in words_of("TIED"):
        hint = "write `expect tied A B`: the operands stand behind the word"
        return "bad-expectation", f"`{word}` stands in front of what is tied", mistake.span, hint
    words = [*measures, *states]
    hint = did_you_mean(word, words) or f"one of {listed(words, len(words))}"
    return "bad-expectation", f"expected what is to hold, found {mistake.shown}", mistake.span, hint


# how other languages, and the pages of this one, might begin a statement: what it is here
GUESSES = {
    "load": '`net.backbone = load("backbone.safetensors")` loads', "strict": "`expect net covered` refuses uncovered parameters; "
    "or `strict=True`, `--strict`", "freeze": "what is trained is said in Python; `keep` leaves a parameter's values",
    "import": 'another rule file is used by `use "base.init"`', "include": 'another rule file is used by `use "base.init"`',
    "set": "a statement begins with its selector: `Linear.weight = 0`", "init": "a statement begins with its selector: `Linear.weight = 0`",
    "for": "a selector takes many things at once, and binds their index: `net.layers[i].weight`",
    "if": "a class takes conditions: `Linear(bias).weight`; in values write `where(condition, a, b)`",
    "def": "functions are written in Python and registered; a name for a value is `let std = 0.02`",
    "assert": "`expect` says what is to hold: `expect net covered`",
}  # fmt: skip


def _guesses(mistake: Mistake) -> Problem | None:
    """`load net.backbone from "x"`, `strict` alone on a line."""
    if not {"SET", "DRAW"} <= mistake.accepts:
        return None
    word = _last_word(mistake)
    begins = re.fullmatch(r"\s*\w+\s*", mistake.state.before(mistake.at))
    if word not in GUESSES or not begins:
        return None
    start = mistake.at - len(begins[0].lstrip())
    return "unexpected-token", f"no statement begins with `{word}`", Span(start, start + len(word)), GUESSES[word]


def _dotted_calls(mistake: Mistake) -> Problem | None:
    """`1 / math.sqrt(fan_in)`, `nn.init.normal_(0, 1)`, `Linear = default`."""
    if mistake.character == "(":
        dotted = mistake.behind(r"\b(?:[a-zA-Z_]\w*\.)+([a-zA-Z_]\w*)\Z")
        value = mistake.behind(r"[~=(,]")
        if dotted and value and not dotted[0].startswith("net."):
            message = f"`{dotted[0]}` is Python: functions here have plain names"
            return "unexpected-token", message, mistake.span, f"write `{dotted[1].rstrip('_')}(...)`"
    if (
        mistake.word == "default"
        and "NUMBER" in mistake.accepts
        and (target := mistake.behind(r"(\S+)[ \t]*[=~][ \t]*\Z"))
    ):
        message = "a module's own default is a statement, not a value"
        return "unexpected-token", message, mistake.span, f"write `default {target[1]}`"
    return None


def _misspelt_statements(mistake: Mistake) -> Problem | None:
    """`kep net.head`."""
    if not mistake.word or not {"SET", "DRAW"} <= mistake.accepts:
        return None
    word = _last_word(mistake)
    hint = did_you_mean(word, statement_words()) if word != "net" else None
    if hint is None:
        return None
    message = f"expected `~`, `=` or an edit such as `+=`, found {mistake.shown}"
    return "unexpected-token", message, mistake.span, hint


EXPLANATIONS: tuple[Callable[[Mistake], Problem | None], ...] = (
    _ranges,
    _edit_operators,
    _characters,
    _maybe_too_early,
    _spaces,
    _comparisons,
    _other_languages,
    _expectations,
    _guesses,
    _dotted_calls,
    _misspelt_statements,
)


def _hint(mistake: Mistake) -> str | None:
    """Return what to type where nothing but the unexpected token is known to be wrong."""
    accepts, word, token = mistake.accepts, mistake.word, mistake.token
    if mistake.match(r"\r?\n[ \t]+\S") and mistake.behind(r"[~=][ \t]*\Z"):
        return "a value begins in the line of its operator, and may go on in the next inside brackets"
    if word == "not" and "NOT_MARK" in accepts:
        return "write `!` directly before the name"
    if accepts == {"STRING"}:
        return 'write it as a string: `use "base.init"`'
    if word == "if" and "NL" in accepts:
        return "write `where(condition, a, b)`"
    if word in keywords() and "NAME" in accepts:
        return f"`{word}` is reserved; take another name"
    if word in keywords() and "CLASS" in accepts:
        return f"`{word}` is reserved; after a dot it is fine, as in `net.{word}`"
    behind_name = mistake.state.previous == "NAME" and "LPAR_GLUED" in accepts
    if behind_name and token is not None and token.type in ("NUMBER", "NAME"):
        return f"a call has parentheses: `{_last_word(mistake)}(...)`"
    return None


def _last_word(mistake: Mistake) -> str:
    match = mistake.behind(r"(\w+)\s*\Z")
    return match[1] if match else ""


def _expected(accepts: frozenset[str]) -> str:
    """Return what the grammar takes next, in words, most telling first."""
    begins, value, sets = "TIE" in accepts, "NUMBER" in accepts, "DRAW" in accepts
    phrases = (
        (begins, "a statement"),
        (value and not begins, "a value"),
        ("CLASS" in accepts and not value and not begins, "a selector"),
    )
    words = [phrase for holds, phrase in phrases if holds]
    if sets:
        words += ["`~`", "`=`", "an edit such as `+=`"]
    words += [NAMES[name] for name in _structural(accepts, bool(words)) if name in accepts]
    words = list(dict.fromkeys(words))
    if "NL" in accepts and not begins and not sets:
        words.append("the end of the statement")
    if not words and terminals_in("binary") & accepts:
        words.append("an operator")
    if not words:
        words = sorted(NAMES.get(kind, kind.lower()) for kind in accepts if kind != "$END") or ["the end of the text"]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _structural(accepts: frozenset[str], worded: bool) -> list[str]:
    """Return the punctuation and names worth naming beside a statement, a value or a selector (`worded`)."""
    begins, value = "TIE" in accepts, "NUMBER" in accepts
    names = ["RBRACE"] if worded and begins else ["RPAR", "RSQB", "COMMA", "COLON", "RBRACE"]
    if not value and not begins and "CLASS" not in accepts:
        names += ["STRING", "NAME", "STEP"]
    if "DRAW" not in accepts:
        names.append("SET")
    if "LPAR_GLUED" in accepts and len(accepts) <= 2:
        names.append("LPAR_GLUED")
    return names
