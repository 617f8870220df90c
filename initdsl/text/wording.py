"""Words for people: lists, numbers and sizes as text, and the nearest of some names."""

from __future__ import annotations

import difflib
import os
import typing
import unicodedata
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

__all__ = [
    "bytes_text",
    "cell_width",
    "listed",
    "literal_text",
    "near",
    "nearest",
    "number",
    "quoted",
    "shortened",
    "shown_place",
    "value_text",
]


def bytes_text(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 10**9 else f"{count / 1e6:.2f} MB"


def cell_width(text: str) -> int:
    """The width of a text on a screen."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def number(value: float) -> str:
    """A number as one writes it in a rule file: at most six significant digits, no trailing `.0`."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def literal_text(value: Any) -> str:
    """A value as a rule file writes it."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, str):
        return value if value.isidentifier() else f'"{value}"'
    return str(value)


def nearest(word: str, words: typing.Iterable[str]) -> str | None:
    near = difflib.get_close_matches(word, list(words), n=1, cutoff=0.6)
    return f"did you mean `{near[0]}`?" if near else None


def shortened(text: str) -> str:
    return text if len(text) <= 40 else text[:37] + "..."


# ---- as text and in use


def quoted(name: str) -> str:
    """A name in quotes as a rule file writes it: what does not print by its code, where that has four digits.

    A lone surrogate stays as it is: no rule file can hold one.
    """

    def written(c: str) -> str:
        if c in '"\\':
            return f"\\{c}"
        return c if c.isprintable() or c > "\uffff" or "\ud800" <= c <= "\udfff" else f"\\u{ord(c):04x}"

    return f'"{"".join(map(written, name))}"'


def near(word: str, words: Iterable[str]) -> str | None:
    """A hint that names the nearest word, if any is near."""
    candidates = [w for w in words if w != word]
    found = get_close_matches(word, candidates, 1, 0.6)
    if not found:
        lower = [w for w in candidates if w.lower() == word.lower()]
        found = lower[:1]
    return f"did you mean `{found[0]}`?" if found else None


def listed(words: list[str], most: int = 6) -> str:
    """`a`, `b`, `c` and 4 more."""
    shown = ", ".join(f"`{w}`" for w in words[:most])
    return shown if len(words) <= most else f"{shown} and {len(words) - most} more"


def value_text(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if isinstance(value, int | float):
        return number(value)
    return str(value)


def shown_place(place: str) -> str:
    """`file:line` from the working directory, where that is shorter."""
    if os.path.isabs(place):
        relative = os.path.relpath(place)
        return relative if len(relative) < len(place) else place
    return place
