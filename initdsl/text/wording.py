"""Words for people: lists, numbers and places as text, and the nearest of some names. Standard library only."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable
from difflib import get_close_matches

__all__ = [
    "bytes_text",
    "cell_width",
    "did_you_mean",
    "exact_number",
    "listed",
    "nearest",
    "number",
    "quoted",
    "relative_location",
    "shortened",
    "value_text",
]


# the share of characters in common from which a word may be a slip of the pen (difflib's ratio)
LIKENESS = 0.6


# characters of a token that a message quotes
LONGEST_QUOTED = 40


# ---- names


def nearest(word: str, words: Iterable[str]) -> str | None:
    """Return the one of `words` that is most like `word` and not equal to it; None where none is alike.

    >>> nearest("wieght", ["weight", "bias"])
    'weight'
    """
    others = [other for other in words if other != word]
    alike = get_close_matches(word, others, 1, LIKENESS)
    return next(iter(alike), None) or next((other for other in others if other.lower() == word.lower()), None)


def did_you_mean(word: str, words: Iterable[str]) -> str | None:
    """Return the hint that names the nearest of `words`; None where none is near."""
    near = nearest(word, words)
    return None if near is None else f"did you mean `{near}`?"


def listed(words: list[str], most: int = 6) -> str:
    """Return "`a`, `b`, `c` and 4 more"."""
    text = ", ".join(f"`{word}`" for word in words[:most])
    return text if len(words) <= most else f"{text} and {len(words) - most} more"


def quoted(name: str) -> str:
    """Return a name in quotes as a rule file writes it: what does not print by its code, where that has four digits.

    A lone surrogate stays as it is: no rule file can hold one.
    """

    def written(c: str) -> str:
        if c in '"\\':
            return f"\\{c}"
        return c if c.isprintable() or c > "\uffff" or "\ud800" <= c <= "\udfff" else f"\\u{ord(c):04x}"

    return f'"{"".join(map(written, name))}"'


def shortened(text: str) -> str:
    """Return a token cut to the length that a message quotes."""
    return text if len(text) <= LONGEST_QUOTED else text[: LONGEST_QUOTED - 3] + "..."


def cell_width(text: str) -> int:
    """Return the width of a text on a terminal, in cells: wide characters count two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def relative_location(location: str) -> str:
    """Return `file:line` relative to the working directory, where that is shorter."""
    if os.path.isabs(location):
        relative = os.path.relpath(location)
        return relative if len(relative) < len(location) else location
    return location


# ---- values


def number(value: float) -> str:
    """Return a number as one writes it in a rule file: at most six significant digits, no trailing `.0`.

    >>> number(2.0), number(0.1 + 0.2), number(1e-5)
    ('2', '0.3', '1e-5')
    """
    if not isinstance(value, float):
        return str(value)
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else _plain_exponent(f"{value:.6g}")


def exact_number(value: float) -> str:
    """Return a number as a rule file writes it, with the digits that tell it from every other float."""
    return _plain_exponent(repr(value))


def _plain_exponent(text: str) -> str:
    return text.replace("e-0", "e-").replace("e+0", "e").replace("e+", "e")


def value_text(value: object) -> str:
    """Return a value as a rule file writes it."""
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if isinstance(value, int | float):
        return number(value)
    if isinstance(value, str):
        return value if value.isidentifier() else quoted(value)
    return str(value)


def bytes_text(count: int) -> str:
    """Return a size in bytes as people say it: `1.50 MB`."""
    return f"{count / 1e9:.2f} GB" if count >= 10**9 else f"{count / 1e6:.2f} MB"
