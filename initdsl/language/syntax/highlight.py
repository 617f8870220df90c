"""Colours for editors and documents, from the grammar: a TextMate grammar and a Pygments lexer.

Both are written from one table, whose patterns are the grammar's own terminals. They work line by line on text that
need not parse, so they tell a regular expression from a division by where it stands: in front of the operator or
behind it. `docs/generate.py` writes the TextMate grammar. Pygments is imported when its lexer is asked for.
"""

from __future__ import annotations

import importlib
import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from .grammar import continuing, keywords, statement_words, terminals, terminals_in

__all__ = ["KINDS", "Match", "Region", "Rules", "table", "text_mate", "text_mate_json", "words"]


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


ESCAPE = r'\\(?:u[0-9a-fA-F]{4}|["\\nt])'


@dataclass(frozen=True)
class Match:
    """A pattern; one kind, or one for each of its groups (which then leave nothing between them but blanks)."""

    pattern: str
    kinds: tuple[str, ...]


@dataclass(frozen=True)
class Region:
    """What stands between two patterns, coloured as `inside` says. Patterns of no width belong to what is around."""

    begin: str
    kinds: tuple[str, ...]
    inside: str
    end: str


Rules = tuple[Match | Region, ...]


@lru_cache(maxsize=1)
def words() -> dict[str, tuple[str, ...]]:
    """Return the reserved words of each kind: `words()["pseudo"]` is `("net", "it")`."""
    constants, names = terminals_in("constant"), terminals_in("name")
    kinds: dict[str, list[str]] = {"statement": [], "word": [], "constant": [], "pseudo": []}
    for word in keywords():
        terminal = word.upper()
        kind = "constant" if terminal in constants else "pseudo" if terminal in names else "word"
        kinds["statement" if word in statement_words() else kind].append(word)
    return {kind: tuple(members) for kind, members in kinds.items()}


@lru_cache(maxsize=1)
def table() -> dict[str, Rules]:
    """Return what is coloured how in each context.

    A file begins in `selectors`, an operator leads to an `expression`, and a line that ends although its statement
    goes on to a `gap`, which lasts until the statement does go on.
    """
    common = (Match(_any_of("COMMENT"), ("comment",)), Match(_any_of("STRING"), ("string",)))
    # in an expression a dot that touches nothing begins a number
    steps = {
        context: Match(rf"({_any_of(*dots)})[ \t]*({_any_of('STEP')})", ("punctuation", "step"))
        for context, dots in (("selectors", ("DOT", "DOT_FREE")), ("expression", ("DOT",)))
    }
    reserved = tuple(
        Match(rf"(?<!\w)(?:{_any_of(*(word.upper() for word in members))})", (kind,))
        for kind, members in words().items()
    )
    return {
        "selectors": (*common, *_statement_rules(), *reserved, steps["selectors"], *_selector_rules()),
        "expression": (*common, *_goes_on(), *reserved, steps["expression"], *_expression_rules()),
        "gap": common[:1],
    }


def _any_of(*names: str) -> str:
    """Return a pattern for any of the terminals."""
    return "|".join(terminals()[name] for name in names)


def _statement_rules() -> Rules:
    """Return how the parts of a statement that are no selectors are coloured."""
    t = terminals()
    end = r"(?=[;}])|$"
    return (
        Region(_any_of("DRAW", "EDIT", "SET"), ("operator",), "expression", end),
        # behind a comparison the expression may begin in the next line: it is coloured as a part of the expression
        Region(rf"(?={t['COMPARE']})", (), "expression", end),
        Match(rf"({t['LET']})[ \t]+({t['NAME']})", ("statement", "definition")),
        Region(rf"(?<!\w)({t['AS']})[ \t]*({t['LPAR']})", ("word", "punctuation"), "expression", t["RPAR"]),
        Match(rf"(?<=[ \t])(?:{_any_of('MEASURE', 'STATE', 'TIED')})", ("word",)),
    )


def _selector_rules() -> Rules:
    """Return how a selector is coloured, but for its steps."""
    t = terminals()
    return (
        Match(t["REGEX"], ("regex",)),
        Match(t["CLASS"], ("class",)),
        Region(t["LPAR_GLUED"], ("punctuation",), "expression", t["RPAR"]),
        Region(t["LPAR"], ("punctuation",), "selectors", t["RPAR"]),
        Region(t["LSQB"], ("punctuation",), "expression", t["RSQB"]),
        Match(_any_of("PLUS_GLUED", "MAYBE"), ("operator",)),
        Match(_any_of("COMMA", "SEMICOLON", "LBRACE", "RBRACE"), ("punctuation",)),
    )


def _goes_on() -> Rules:
    """Return how what goes on in the next line is coloured: a terminal that asks for more, at the end of its line."""
    keyword = continuing() & {word.upper() for word in keywords()}
    operators = continuing() - keyword - {"COMMA"}
    kinds = (("word", rf"(?<!\w)(?:{_any_of(*sorted(keyword))})"), ("punctuation", _any_of("COMMA")))
    return tuple(
        Region(rf"(?:{pattern})(?=[ \t\r]*(?:{_any_of('COMMENT')})?$)", (kind,), "gap", r"(?=[^\s#])")
        for kind, pattern in (*kinds, ("operator", _any_of(*sorted(operators))))
    )


def _expression_rules() -> Rules:
    """Return how an expression is coloured, but for its reserved words and paths."""
    t = terminals()
    brackets = (("LPAR", "RPAR"), ("LSQB", "RSQB"), ("LBRACE", "RBRACE"))
    operators = continuing() - {word.upper() for word in keywords()} - {"COMMA"}
    return (
        Region(rf"({t['LEN']})({t['LPAR']})", ("function", "punctuation"), "selectors", t["RPAR"]),
        Match(rf"{t['NAME']}(?={t['LPAR']})", ("function",)),
        Match(rf"{t['NAME']}(?=[ \t]*{t['SET']})", ("parameter",)),
        Match(t["NAME"], ("name",)),
        Match(t["NUMBER"], ("number",)),
        *(Region(t[opener], ("punctuation",), "expression", t[closer]) for opener, closer in brackets),
        Match(_any_of("ELLIPSIS", "COMMA", "COLON"), ("punctuation",)),
        Match(_any_of("SET", "NOT_MARK", *sorted(operators, key=_longest_first)), ("operator",)),
    )


def _longest_first(name: str) -> tuple[int, str]:
    return -len(terminals()[name]), name


# ---- TextMate


def text_mate() -> dict[str, Any]:
    """Return the TextMate grammar as a JSON value."""
    return {
        "name": "initdsl",
        "scopeName": "source.initdsl",
        "fileTypes": ["init"],
        "comment": "generated from grammar/initdsl.lark by docs/generate.py",
        "patterns": [{"include": "#selectors"}],
        "repository": {
            context: {"patterns": [_text_mate_rule(rule) for rule in rules]} for context, rules in table().items()
        },
    }


def _text_mate_rule(rule: Match | Region) -> dict[str, Any]:
    if isinstance(rule, Region):
        captures = {"0": _scope(rule.kinds[0])} if len(rule.kinds) == 1 else _groups(rule.kinds)
        closing = {} if rule.end.startswith("(?=") else {"endCaptures": {"0": _scope("punctuation")}}
        inside = [{"include": f"#{rule.inside}"}]
        return {"begin": rule.begin, "beginCaptures": captures, "end": rule.end, **closing, "patterns": inside}
    if len(rule.kinds) > 1:
        return {"match": rule.pattern, "captures": _groups(rule.kinds)}
    escapes = {"0": {"patterns": [{"match": ESCAPE, "name": "constant.character.escape.initdsl"}]}}
    inner = {"captures": escapes} if rule.kinds == ("string",) else {}
    return {"match": rule.pattern, **_scope(rule.kinds[0]), **inner}


def _scope(kind: str) -> dict[str, str]:
    return {"name": f"{KINDS[kind][0]}.initdsl"}


def _groups(kinds: tuple[str, ...]) -> dict[str, dict[str, str]]:
    return {str(number): _scope(kind) for number, kind in enumerate(kinds, 1)}


def text_mate_json() -> str:
    """Return the TextMate grammar as the text of its file."""
    return json.dumps(text_mate(), indent=2, ensure_ascii=False) + "\n"


# ---- Pygments


@lru_cache(maxsize=1)
def _pygments_lexer() -> Any:
    lexer, token = importlib.import_module("pygments.lexer"), importlib.import_module("pygments.token")

    def action(kinds: tuple[str, ...], pattern: str) -> tuple[str, Any]:
        tokens = [token.string_to_tokentype(f"Token.{KINDS[kind][1]}") for kind in kinds]
        if len(tokens) == 1:
            return pattern, tokens[0]
        # `bygroups` leaves out what lies between the groups, so the blanks there become one
        blanks = next((blanks for blanks in (r"[ \t]*", r"[ \t]+") if blanks in pattern and tokens), None)
        if blanks is None:
            return pattern, lexer.bygroups(*tokens)
        return pattern.replace(blanks, f"({blanks})", 1), lexer.bygroups(tokens[0], token.Whitespace, tokens[1])

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
