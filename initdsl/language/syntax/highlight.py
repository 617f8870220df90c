"""Colours for editors and documents, from the grammar: a TextMate grammar and a Pygments lexer.

Both are written from one table, whose patterns are the grammar's own terminals. They work line by line on text that
need not parse, so they tell a regular expression from a division by where it stands: before or behind the operator.

`python -m initdsl.language.syntax.highlight` writes the TextMate grammar of a source checkout anew. Pygments is imported when its
lexer is asked for, and then only.
"""

from __future__ import annotations

import importlib
import json
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from .grammar import grammar_text

__all__ = ["WORDS", "Match", "Region", "table", "text_mate", "text_mate_json"]


# kind: its TextMate scope, its Pygments token
KINDS = {
    "comment": ("comment.line.number-sign", "Comment.Single"),
    "string": ("string.quoted.double", "String.Double"),
    "regex": ("string.regexp", "String.Regex"),
    "number": ("constant.numeric", "Number"),
    "statement": ("keyword.control", "Keyword"),
    "word": ("keyword.operator.word", "Operator.Word"),
    "constant": ("constant.language", "Keyword.Constant"),
    "pseudo": ("variable.language", "Name.Builtin.Pseudo"),
    "class": ("entity.name.type", "Name.Class"),
    "step": ("variable.other.member", "Name.Attribute"),
    "function": ("entity.name.function", "Name.Function"),
    "parameter": ("variable.parameter", "Name.Variable"),
    "definition": ("variable.other.constant", "Name.Constant"),
    "name": ("variable.other", "Name"),
    "operator": ("keyword.operator", "Operator"),
    "punctuation": ("punctuation", "Punctuation"),
}


# every reserved word of the grammar is one of these kinds
WORDS = {
    "statement": ("TIE", "COPY", "KEEP", "DEFAULT", "LET", "USE", "EXPECT"),
    "word": ("IN", "AS", "NOT", "AND", "OR"),
    "constant": ("TRUE", "FALSE", "NONE", "INF", "NAN", "PI"),
    "pseudo": ("NET", "IT"),
}


ESCAPE = r'\\(?:u[0-9a-fA-F]{4}|["\\nt])'


@dataclass(frozen=True)
class Match:
    """A pattern; one kind, or one for each of its groups (which then leave nothing between them but blanks)."""

    pattern: str
    kinds: tuple[str, ...]


@dataclass(frozen=True)
class Region:
    """What stands between two patterns, coloured as `inside` says. An `end` of no width belongs to what follows."""

    begin: str
    kinds: tuple[str, ...]
    inside: str
    end: str


def terminals() -> dict[str, str]:
    """The terminals of the grammar as regular expressions, by name."""
    found = {}
    for name, pattern, text in re.findall(r'^([A-Z_]+)(?:\.\d+)?: (?:/(.*)/|"(.*)")$', grammar_text(), re.MULTILINE):
        found[name] = pattern.replace(r"\/", "/") if pattern else re.escape(text)
    return found


@lru_cache(maxsize=1)
def table() -> dict[str, tuple[Match | Region, ...]]:
    """What is coloured how: in `selectors`, as at the start of a statement, and in an `expression`."""
    t = terminals()

    def any_of(*names: str) -> str:
        return "|".join(t[name] for name in names)

    words = [Match(rf"(?<!\w)(?:{any_of(*names)})", (kind,)) for kind, names in WORDS.items()]
    common = [Match(t["COMMENT"], ("comment",)), Match(t["STRING"], ("string",))]
    step = Match(rf"({t['DOT']}|{t['DOT_FREE']})[ \t]*({t['STEP']})", ("punctuation", "step"))
    nested = [
        Region(t["LPAR"], ("punctuation",), "expression", t["RPAR"]),
        Region(t["LSQB"], ("punctuation",), "expression", t["RSQB"]),
        Region(t["LBRACE"], ("punctuation",), "expression", t["RBRACE"]),
    ]
    selectors = [
        *common,
        # a value goes on in the next line behind an operator or a comma
        Region(rf"{any_of('DRAW', 'EDIT', 'COMPARE', 'SET')}", ("operator",), "expression", r"(?=[;}])|(?<![-+*/%,])$"),
        Match(rf"({t['LET']})[ \t]+({t['NAME']})", ("statement", "definition")),
        Region(rf"(?<!\w)({t['AS']})[ \t]*({t['LPAR']})", ("word", "punctuation"), "expression", t["RPAR"]),
        Match(rf"(?<=[ \t])(?:{any_of('MEASURE', 'STATE', 'TIED')})", ("word",)),
        *words,
        step,
        Match(t["REGEX"], ("regex",)),
        Match(t["CLASS"], ("class",)),
        Region(t["LPAR_GLUED"], ("punctuation",), "expression", t["RPAR"]),
        Region(t["LPAR"], ("punctuation",), "selectors", t["RPAR"]),
        Region(t["LSQB"], ("punctuation",), "expression", t["RSQB"]),
        Match(any_of("PLUS_GLUED", "MAYBE"), ("operator",)),
        Match(any_of("COMMA", "SEMICOLON", "LBRACE", "RBRACE"), ("punctuation",)),
    ]
    expression = [
        *common,
        *words,
        step,
        Match(rf"{t['NAME']}(?={t['LPAR']})", ("function",)),
        Match(rf"{t['NAME']}(?=[ \t]*{t['SET']})", ("parameter",)),
        Match(t["NAME"], ("name",)),
        Match(t["NUMBER"], ("number",)),
        *nested,
        Match(any_of("ELLIPSIS", "COMMA", "COLON"), ("punctuation",)),
        Match(
            any_of("COMPARE", "SET", "NOT_MARK", "POWER", "FLOOR_DIVIDE", "PLUS", "MINUS", "STAR", "SLASH", "PERCENT"),
            ("operator",),
        ),
    ]
    return {
        "selectors": tuple(cast("list[Match | Region]", selectors)),
        "expression": tuple(cast("list[Match | Region]", expression)),
    }


# ---- TextMate


def text_mate() -> dict[str, Any]:
    """The TextMate grammar as a JSON value."""
    return {
        "name": "initdsl",
        "scopeName": "source.initdsl",
        "fileTypes": ["init"],
        "comment": "generated from grammar/initdsl.lark by python -m initdsl.language.syntax.highlight",
        "patterns": [{"include": "#selectors"}],
        "repository": {
            context: {"patterns": [_text_mate_rule(rule) for rule in rules]} for context, rules in table().items()
        },
    }


def _text_mate_rule(rule: Match | Region) -> dict[str, Any]:
    if isinstance(rule, Region):
        captures = {"0": _scope(rule.kinds[0])} if len(rule.kinds) == 1 else _groups(rule.kinds)
        found: dict[str, Any] = {"begin": rule.begin, "beginCaptures": captures, "end": rule.end}
        if not rule.end.startswith("(?="):
            found["endCaptures"] = {"0": _scope("punctuation")}
        return {**found, "patterns": [{"include": f"#{rule.inside}"}]}
    if len(rule.kinds) > 1:
        return {"match": rule.pattern, "captures": _groups(rule.kinds)}
    found = {"match": rule.pattern, **_scope(rule.kinds[0])}
    if rule.kinds == ("string",):
        found["captures"] = {"0": {"patterns": [{"match": ESCAPE, "name": "constant.character.escape.initdsl"}]}}
    return found


def _scope(kind: str) -> dict[str, str]:
    return {"name": f"{KINDS[kind][0]}.initdsl"}


def _groups(kinds: tuple[str, ...]) -> dict[str, dict[str, str]]:
    return {str(number): _scope(kind) for number, kind in enumerate(kinds, 1)}


def text_mate_json() -> str:
    """The TextMate grammar as the text of its file."""
    return json.dumps(text_mate(), indent=2, ensure_ascii=False) + "\n"


ROOT = Path(__file__).parents[3]


# an extension holds all its files in its folder
PLACES = (
    ROOT / "grammar" / "initdsl.tmLanguage.json",
    ROOT / "editors" / "vscode" / "syntaxes" / "initdsl.tmLanguage.json",
)


# ---- Pygments


@lru_cache(maxsize=1)
def _pygments_lexer() -> Any:
    lexer, token = importlib.import_module("pygments.lexer"), importlib.import_module("pygments.token")

    def action(kinds: tuple[str, ...], pattern: str) -> tuple[str, Any]:
        found = [token.string_to_tokentype(f"Token.{KINDS[kind][1]}") for kind in kinds]
        if len(found) == 1:
            return pattern, found[0]
        # `bygroups` leaves out what lies between the groups, so the blanks there become one
        blanks = r"[ \t]*" if r"[ \t]*" in pattern else r"[ \t]+"
        return pattern.replace(blanks, f"({blanks})", 1), lexer.bygroups(found[0], token.Whitespace, found[1])

    states: dict[str, list[Any]] = {"root": [lexer.include("selectors")]}
    for context, rules in table().items():
        state = states.setdefault(context, [(r"[^\S\n]+|\n", token.Whitespace)])
        for rule in rules:
            if isinstance(rule, Match):
                state.append(action(rule.kinds, rule.pattern))
                continue
            name = f"{rule.inside} to {rule.end}"
            state.append((*action(rule.kinds, rule.begin), name))
            end = (rule.end, token.Punctuation, "#pop")
            states[name] = [end, lexer.include(rule.inside)]
    return type(
        "InitDSLLexer",
        (lexer.RegexLexer,),
        {
            "__doc__": "Pygments' lexer of rule files.",
            "__module__": __name__,
            "name": "initdsl",
            "aliases": ["initdsl"],
            "filenames": ["*.init"],
            "mimetypes": ["text/x-initdsl"],
            "tokens": states,
        },
    )


def __getattr__(name: str) -> Any:
    if name == "InitDSLLexer":
        return _pygments_lexer()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def write() -> None:
    """Write the TextMate grammar where the source checkout keeps it."""
    for place in PLACES:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text_mate_json(), "utf-8")


if __name__ == "__main__":
    write()
