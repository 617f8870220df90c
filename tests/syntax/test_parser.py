"""The parser: its stored tables, and the way around lark's inside for versions of lark that have another one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import lark
import pytest

from initdsl.language.syntax import parser as module
from initdsl.language.syntax.grammar import grammar_text
from initdsl.language.syntax.parse import parse_source
from initdsl.language.syntax.parser import Cursor, built_parser, cursor_of, read_tables
from initdsl.text.source import Source

CASES = sorted((Path(__file__).parents[1] / "cases" / "lint").rglob("*.init"))
FILES = sorted((Path(__file__).parents[2] / "examples").rglob("*.init"))

WRONG = [
    "Linear.weight ~", "a = (1", "net.a = = 1\nnet.b ~ 1", "A { .w = 1 2 }\nB.w = 1", "A { .w = )\n .b = {", "}", "A B {\n.w = 1\n}",
    "A.w = a < b < c", "tie A, B", "A.w = 'x'\n", "kep A B\nB.w = 1", 'A.w = "x\nB.w = 1', "é é\n\nA.w = \0",
]  # fmt: skip

TEXTS = [*(path.read_text("utf-8") for path in FILES), *WRONG]


@pytest.fixture
def anew() -> Iterator[None]:
    """Let a test make the parser anew, and take the usual one up again behind it."""
    caches = (module.parser, module._inside_is_known)
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


@pytest.mark.needs("lark>=1.3")  # they are of one lark
def test_the_stored_tables_are_of_this_grammar() -> None:
    assert read_tables(grammar_text()) is not None, "write them with `python docs/generate.py`"


def test_tables_of_another_grammar_are_not_read(tmp_path: Path) -> None:
    assert read_tables(grammar_text() + "\n") is None
    assert read_tables(grammar_text(), tmp_path / "missing.json") is None


def test_the_parser_of_the_tables_is_that_of_the_grammar(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [case.read_text("utf-8") for case in CASES] + TEXTS
    stored = [parse_source(Source("t", text)) for text in texts]
    made = built_parser()
    monkeypatch.setattr(module, "parser", lambda: made)
    assert [parse_source(Source("t", text)) for text in texts] == stored


@pytest.mark.usefixtures("anew")
def test_where_lark_does_not_take_the_tables_the_parser_is_made_from_the_grammar(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lark.Lark, "_load", None)
    assert [rule.kind for rule in parse_source(Source("", "a.b = 1; keep c"))[0]] == ["assign", "keep"]


@pytest.mark.usefixtures("anew")
def test_without_larks_inside_a_text_is_read_by_its_public_names(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = [parse_source(Source("t", text)) for text in TEXTS]
    module._inside_is_known.cache_clear()

    def begin(self: Cursor, start: int, inside: bool) -> None:
        raise AttributeError("'ParserState' object has no attribute 'state_stack'")

    monkeypatch.setattr(Cursor, "begin", begin)
    assert not isinstance(cursor_of(""), Cursor)
    for text, (rules, problems) in zip(TEXTS, expected, strict=True):
        again, found = parse_source(Source("t", text))
        assert repr(again) == repr(rules)  # as text, since spans take no part in comparison
        assert found == problems


def test_a_brace_behind_the_bracket_a_line_begins_with_is_no_block() -> None:
    rules, problems = parse_source(Source("", "[{ .w = 1 }"))
    assert not rules
    assert [problem.message for problem in problems] == ["`[` is never closed"]


@pytest.mark.parametrize("text", ["A ? B,\nC.w = 1\nD.w = 2", "A.w = ? b+\n1\nD.w = 2"])
def test_a_statement_with_a_mistake_goes_on_behind_a_comma_or_operator(text: str) -> None:
    rules, problems = parse_source(Source("", text))
    assert len(problems) == 1
    assert [rule.kind for rule in rules] == ["assign"]
