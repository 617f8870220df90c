"""The formatter: stable, of the same meaning, nothing lost. `tests/cases/format` holds what it makes of a text."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from strategies import rule_files

from initdsl.diagnostic import Edit, ParseError
from initdsl.formatter import format, format_range
from initdsl.rules import parse
from initdsl.syntax import tokenize

generated = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


def comments(text: str) -> Counter[str]:
    """The comments of a text, found without the formatter: what is left of it outside of tokens."""
    text = text.removeprefix("\ufeff")
    at, gaps = 0, []
    for token in tokenize(text):
        gaps.append(text[at : token.start_pos])
        at = token.end_pos or 0
    gaps.append(text[at:])
    return Counter(c.rstrip() for c in re.findall(r"#[^\n]*", "\n".join(gaps)))


def applied(text: str, edits: list[Edit]) -> str:
    for edit in reversed(edits):
        text = text[: edit.span.start] + edit.text + text[edit.span.end :]
    return text


# ---- generated files


@generated
@given(rule_files())
def test_formatting_keeps_the_meaning_and_the_comments_and_is_stable(text: str) -> None:
    laid_out = format(text)
    assert parse(laid_out) == parse(text)
    assert comments(laid_out) == comments(text)
    assert format(laid_out) == laid_out


def test_range_formatting_keeps_the_meaning_and_over_all_lines_is_formatting() -> None:
    @generated
    @given(rule_files(), st.data())
    def check(text: str, data: st.DataObject) -> None:
        lines = text.count("\n") + 1
        everything = applied(text, format_range(text, 1, lines))
        assert everything.removeprefix("\ufeff").replace("\r\n", "\n") == format(text)
        first = data.draw(st.integers(1, lines))
        last = data.draw(st.integers(first, lines))
        some = applied(text, format_range(text, first, last))
        assert parse(some) == parse(text)
        assert comments(some) == comments(text)

    check()


# ---- cases

CASES = Path(__file__).parent / "cases" / "format"
OUTPUT = "# ---- output\n"


@pytest.mark.parametrize("case", sorted(CASES.glob("*.init")), ids=lambda path: path.stem)
def test_case(case: Path) -> None:
    before, _, after = case.read_text("utf-8").partition(OUTPUT)
    assert format(before) == after
    assert format(after) == after, "not stable"
    assert parse(after) == parse(before), "not equivalent"
    assert comments(after) == comments(before)


def test_there_are_cases() -> None:
    assert len(list(CASES.glob("*.init"))) >= 7


def update() -> None:
    """Write what the formatter makes of each case: read the difference before you commit it."""
    for case in sorted(CASES.glob("*.init")):
        before = case.read_text("utf-8").partition(OUTPUT)[0]
        case.write_text(before + OUTPUT + format(before), "utf-8")


if __name__ == "__main__":
    update()
