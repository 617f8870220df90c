"""Where a statement ends: for every way to go on in the next line, the parser, both highlighters and the server agree."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from initdsl.formatter.layout import format
from initdsl.language.syntax import highlight
from initdsl.language.syntax.grammar import continuing, terminals
from initdsl.language.syntax.parse import parse_source, read_units
from initdsl.server.colours import coloured
from initdsl.server.pieces import pieces_of
from initdsl.text.source import Source

# of each continuing terminal: every way to write it between two names
OPERATORS = {
    "PLUS": "+", "MINUS": "-", "STAR": "*", "POWER": "**", "SLASH": "/", "FLOOR_DIVIDE": "//", "PERCENT": "%",
    "AND": "and", "OR": "or", "COMPARE": "< <= > >= == !=",
}  # fmt: skip

# a statement over two lines, cut at `|`, with `b` in the second, whose kind follows
CONTINUED = [
    *((f"A.w = a {word} |b", "name") for words in OPERATORS.values() for word in words.split()),
    ("A.w = not |b", "name"),
    ("A.w = -|b", "name"),
    ("A.w = a and |not b", "name"),
    ("A.w = f(a,|b)", "name"),
    ("A.w = f(|b)", "name"),
    ("A.w = [a,|b]", "name"),
    ("A.w = [|b]", "name"),
    ("expect A.w std <|b", "name"),
    ("expect A.w std in |[b, 1]", "name"),
    ("A.w ~ normal(0, 1) * |b", "name"),
    ("A.w += a * |b", "name"),
    ("let x = a + |b", "name"),
    ("A,|b.w = 1", "class"),
    ("A in |b = 1", "class"),
    ("A not in |b = 1", "class"),
    ("A(x ==|b).w = 1", "name"),
]

# what stands between the two lines and is passed over
BETWEEN = ["\n", "\r\n", "  \n\n", "  # c: a + (\n  # d\n\n"]

# a statement that ends with its line, though it looks as if it went on
ENDED = [
    "keep net.in",
    "keep A+",
    "keep net.*",
    "A.w = net.or",
    "keep net.**",
    "/a -/ = 1",
    "keep A # b,",
    'A.w = "a +"',
]


def kinds_of_textmate(text: str) -> list[tuple[str, str]]:
    """The words of a text with the scopes that the TextMate grammar gives them, line by line as editors do."""
    grammar = highlight.text_mate()
    rules: dict[str, list[dict[str, Any]]] = {name: one["patterns"] for name, one in grammar["repository"].items()}
    stack: list[dict[str, Any]] = [{"patterns": grammar["patterns"]}]
    words: list[tuple[str, str]] = []

    def named(match: re.Match[str], captures: dict[str, Any], whole: str | None) -> None:
        groups = {"0": {"name": whole}} if whole else captures
        words.extend((groups[number]["name"], match[int(number)]) for number in groups if match[int(number)])

    def inside(rule: dict[str, Any]) -> Iterator[dict[str, Any]]:
        for pattern in rule["patterns"]:
            yield from rules[pattern["include"][1:]] if "include" in pattern else [pattern]

    for line in text.replace("\r\n", "\n").splitlines(keepends=True):
        at = 0
        while at < len(line):
            ends = [(re.compile(stack[-1]["end"]), None)] if len(stack) > 1 else []
            candidates = [(re.compile(rule.get("match") or rule["begin"]), rule) for rule in inside(stack[-1])]
            found = [(match, rule) for pattern, rule in (*ends, *candidates) if (match := pattern.search(line, at))]
            if not found:
                break
            match, rule = min(found, key=lambda pair: pair[0].start())
            at = match.end()
            if rule is None:
                named(match, stack.pop().get("endCaptures", {}), None)
            elif "match" in rule:
                named(match, rule.get("captures", {}) if "name" not in rule else {}, rule.get("name"))
            else:
                named(match, rule["beginCaptures"], None)
                stack.append(rule)
    kinds = {f"{scope}.initdsl": kind for kind, (scope, _) in highlight.KINDS.items()}
    return [(kinds[scope], word) for scope, word in words]


def kinds_of_pygments(text: str) -> list[tuple[str, str]]:
    """The words of a text with the kind that Pygments' lexer gives them."""
    kinds = {token: kind for kind, (_, token) in highlight.KINDS.items()}
    tokens = highlight.InitDSLLexer(stripnl=False, ensurenl=False).get_tokens(text)
    named = [(str(token).removeprefix("Token.").removeprefix("Literal."), word) for token, word in tokens]
    return [(kinds[token], word) for token, word in named if word.strip()]


def kinds_of_server(text: str) -> list[tuple[str, str]]:
    """The words of a text with the kind that the language server gives them."""
    return [
        (one.kind, piece.text[one.start : one.end]) for piece in pieces_of(text).pieces for one in coloured(piece.text)
    ]


HIGHLIGHTERS = [kinds_of_textmate, kinds_of_pygments, kinds_of_server]


@pytest.mark.parametrize("between", BETWEEN, ids=["LF", "CRLF", "blank line", "comments"])
@pytest.mark.parametrize(("statement", "kind"), CONTINUED, ids=[statement for statement, _ in CONTINUED])
def test_a_statement_goes_on_in_the_next_line(statement: str, kind: str, between: str) -> None:
    text = f"{statement.replace('|', between)}\nC.w = 1\n"
    rules, problems = parse_source(Source("", text))
    assert not problems
    assert len(rules) == 2
    assert parse_source(Source("", format(text)))[0] == rules
    assert [piece.text for piece in pieces_of(text).pieces] == [text.split("\nC")[0], "C.w = 1"]
    for highlighter in HIGHLIGHTERS:
        words = highlighter(text)
        assert (kind, "b") in words, highlighter.__name__
        assert ("class", "C") in words, highlighter.__name__


@pytest.mark.parametrize("statement", ENDED)
def test_a_statement_ends_with_its_line(statement: str) -> None:
    text = f"{statement}\nC.w = 1\n"
    rules, problems = parse_source(Source("", text))
    assert not problems
    assert len(rules) == 2
    assert [piece.text for piece in pieces_of(text).pieces] == [statement.split(" # ")[0], "C.w = 1"]
    for highlighter in HIGHLIGHTERS:
        assert ("class", "C") in highlighter(text), highlighter.__name__


@pytest.mark.parametrize("between", BETWEEN, ids=["LF", "CRLF", "blank line", "comments"])
def test_a_block_begins_in_a_later_line(between: str) -> None:
    text = f"A{between}{{ .w = 1 }}\nC.w = 1\n"
    rules, problems = parse_source(Source("", text))
    assert not problems
    assert [rule.kind for rule in rules] == ["block", "assign"]
    assert [piece.text for piece in pieces_of(text).pieces] == ["A", ".w = 1", "}", "C.w = 1"]
    for highlighter in HIGHLIGHTERS:
        assert ("class", "C") in highlighter(text), highlighter.__name__


@pytest.mark.parametrize("statement", [statement for statement, _ in CONTINUED])
def test_a_mistake_does_not_end_a_statement_that_goes_on(statement: str) -> None:
    """Reading goes on behind the whole of a statement with a mistake in its first line: one cause, one error."""
    broken = re.sub(r"\bA|\bx\b", r"\g<0> B", statement, count=1).replace("|", "\n")
    text = f"{broken}\nC.w = 1\n"
    units, problems = read_units(Source("", text))
    assert len(problems) == 1
    assert text[units[-1].start : units[-1].end] == "C.w = 1"


def test_every_continuing_terminal_is_tested() -> None:
    named = {*OPERATORS, "NOT", "COMMA", "IN"}
    assert named == continuing()
    for name, words in OPERATORS.items():
        assert all(re.fullmatch(terminals()[name], word) for word in words.split())
