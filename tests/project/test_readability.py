"""The measure of the pages' sentences measures sentences."""

from __future__ import annotations

import pytest

from tests.project.test_readme import script

measured = script("docs/readability.py").measured


@pytest.mark.parametrize(
    ("text", "sentences", "words"),
    [
        ("One two three. Four five six!", 2, 3),
        ("# A heading\n\nOne two three.\n", 1, 3),
        ("One two\nthree.\n\n```python\nx = 1. + 2.\n```\n", 1, 3),
        ("| a | b |\n|---|---|\n| one two | three. |\n\nOne two three.", 1, 3),
        ("- one two three\n- four five six\n", 2, 3),
        ("One `a.b(c, d)` [two three](to.md).", 1, 4),
        ("One `` ` `` two. <!-- net: none --> Three `four`.", 2, 2.5),
        ("", 0, 0),
    ],
)
def test_sentences_are_counted(text: str, sentences: int, words: float) -> None:
    found, mean, _ = measured(text)
    assert (found, mean) == (sentences, words)


def test_long_sentences_are_counted() -> None:
    assert measured(" ".join(["word"] * 31) + ". Short one.")[2] == 1
