"""A text parsed anew after an edit, with what is remembered of it before, against the same text parsed from nothing."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from initdsl.language.syntax.parse import ParseCache, parse_source, read_units
from initdsl.language.syntax.state import Limits
from initdsl.text.source import Source
from tests.support.strategies import rule_files

ROOT = Path(__file__).parents[2]
FILES = sorted([*(ROOT / "examples").rglob("*.init"), *(ROOT / "initdsl" / "recipes").glob("*.init")])

# what may be typed or pasted anywhere: much of it breaks a statement, and half of that the ones around it
PARTS = [
    "{", "}", "(", ")", "[", "]", '"', "/", "#", "\n", "\r\n", ";", ".", ",", "=", "~", "*=", "**=", "?", "+", "*", " ",
    "let x = 1", "in ", "tie ", "as ", "net", "Linear {", "A.w = 1\n", "# c\n", "// c", "'", "\0", "😀", "``", "1e999", "w",
]  # fmt: skip


def same(text: str, cache: ParseCache, limits: Limits = Limits()) -> None:  # noqa: B008
    source = Source("x.init", text)
    again, problems = parse_source(source, limits, cache)
    rules, expected = parse_source(source, limits)
    # as text, since spans and sources take no part in comparison
    assert repr(again) == repr(rules)
    assert repr(problems) == repr(expected)


def edited(text: str, dice: random.Random, parts: list[str]) -> str:
    at = dice.randrange(len(text) + 1)
    kind = dice.randrange(4)
    if kind == 0:  # typed
        return text[:at] + dice.choice(parts) + text[at:]
    end = min(len(text), at + dice.randrange(1, 4 if kind < 3 else 60))
    if kind == 1:  # deleted
        return text[:at] + text[end:]
    if kind == 2:  # replaced
        return text[:at] + dice.choice(parts) + text[end:]
    to = dice.randrange(len(text) + 1)  # copied
    return text[:to] + text[at:end] + text[to:]


@pytest.mark.parametrize("steps", [15, pytest.param(60, marks=pytest.mark.long)])
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_after_random_edits_it_is_the_full_parse(path: Path, steps: int) -> None:
    whole = path.read_text("utf-8")
    dice = random.Random(path.name)
    cache, text = ParseCache(), whole
    same(text, cache)
    for step in range(steps):
        text = edited(text, dice, PARTS)
        same(text, cache)
        if step % 15 == 14:
            text = whole


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(rule_files(), st.randoms(use_true_random=False))
def test_after_random_edits_of_generated_files_too(text: str, dice: random.Random) -> None:
    cache = ParseCache()
    for _ in range(8):
        same(text, cache)
        text = edited(text, dice, PARTS)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(st.sampled_from(PARTS), max_size=8).map("".join), min_size=2, max_size=5))
def test_any_text_after_any_other(texts: list[str]) -> None:
    cache = ParseCache()
    for text in texts:
        same(text, cache)


@pytest.mark.parametrize("keys", [8, pytest.param(2, marks=pytest.mark.long)])
@pytest.mark.parametrize("text", FILES, ids=lambda path: path.stem)
def test_every_prefix_typed(text: Path, keys: int) -> None:
    whole = text.read_text("utf-8")[:600]
    cache = ParseCache()
    for end in range(0, len(whole), keys):
        same(whole[:end], cache)


@pytest.mark.parametrize(("before", "after"), [
    ("A\n# c\n", "A\n# c\n{.w = 1}"),
    ("A.w = 1\n# c\n", "A.w = 1\n# c\n{"),
    ("A.w = 1\n", "A.w = 1\n{"),
    ("A.w = [1,\nB.w = 2\n", "A.w = [1,\nB.w = 2\n]"),
    ("A.w = [1 2,\nB.w = 2\n", "A.w = [1 2,\nB.w = 2\n]"),
    ("A.w =\n", "A.w =\n1"),
    ("A.w = 1 +\n", "A.w = 1 +\n1"),
    ("A {\n.w = 1 +\n}", "A {\n.w = 1 +\n"),
    ("A {\n.w = [[1],\n2]\n}\n", "A { B { C {\n.w = [[1],\n2]\n}\n}\n}\n"),
])  # fmt: skip
def test_what_stands_behind_a_statement_is_looked_at_again(before: str, after: str) -> None:
    for first, second in ((before, after), (after, before)):
        cache, limits = ParseCache(), Limits(nesting=4)
        same(first, cache, limits)
        same(second, cache, limits)


def test_limits_hold_with_a_memory() -> None:
    limits, cache = Limits(nesting=4, errors=3), ParseCache()
    for text in ("A{B{C{.w = [1]}}}", "A{B{C{.w = [[1]]}}}", "x y\n" * 5, "x y\n" * 2, "A{B{C{.w = [1]}}}\nx y\n" * 3):
        same(text, cache, limits)
    same("A { .w = [[1]] }", cache, limits)
    same("A{B{C{ .w = [[1]] }}}", cache, limits)


def test_a_keystroke_reads_one_statement() -> None:
    text = "".join(f"net[{i}] {{\n  .w = {i}\n  Linear.bias = 0\n}}\n" for i in range(50))
    cache = ParseCache()
    before, _ = read_units(Source("", text), cache=cache)
    at = text.index(".w = 25") + 7
    after, _ = read_units(Source("", f"{text[:at]}0{text[at:]}"), cache=cache)
    old = {id(token) for unit in before for token in unit.tokens}
    anew = [unit for unit in after if any(id(token) not in old for token in unit.tokens)]
    assert [unit.text for unit in anew] == [".w = 250\n  Linear.bias = 0\n"]
