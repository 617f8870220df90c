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
