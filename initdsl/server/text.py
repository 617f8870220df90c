"""A text as an editor counts it: lines, columns in the units both sides agreed on, and changes to parts of it."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

__all__ = ["Place", "Text"]


# what ends a line for an editor, and nothing else does
LINE_END = re.compile(r"\r\n|\r|\n")


UNITS: dict[str, Callable[[str], int]] = {
    "utf-8": lambda part: len(part.encode("utf-8", "surrogatepass")),
    "utf-16": lambda part: len(part) if part.isascii() else len(part) + sum(c > "\uffff" for c in part),
    "utf-32": len,
}


class Place(NamedTuple):
    """A line and a column, both from 0, the column in units of the text."""

    line: int
    column: int


@dataclass(frozen=True)
class Text:
    """A text, and the unit its columns are counted in: `utf-8`, `utf-16` or `utf-32`."""

    text: str
    unit: str = "utf-16"

    @cached_property
    def starts(self) -> list[int]:
        """Where every line starts."""
        return [0, *(match.end() for match in LINE_END.finditer(self.text))]

    @cached_property
    def plain(self) -> bool:
        """Whether a character is one unit everywhere."""
        return self.text.isascii()

    def place(self, offset: int) -> Place:
        """Where a character is."""
        offset = min(max(offset, 0), len(self.text))
        line = bisect_right(self.starts, offset) - 1
        if self.plain:
            return Place(line, offset - self.starts[line])
        return Place(line, UNITS[self.unit](self.text[self.starts[line] : offset]))

    def offset(self, line: int, column: int) -> int:
        """The character at a place, kept within its line and the text."""
        if line < 0:
            return 0
        if line >= len(self.starts):
            return len(self.text)
        start = self.starts[line]
        end = self.starts[line + 1] if line + 1 < len(self.starts) else len(self.text)
        row = LINE_END.sub("", self.text[start:end])
        if row.isascii():
            return start + min(max(column, 0), len(row))
        width, units = UNITS[self.unit], 0
        for at, character in enumerate(row):
            if units >= column:
                return start + at
            units += width(character)
        return start + len(row)

    def changed(self, start: int, end: int, new: str) -> Text:
        """The text with the characters from `start` to `end` replaced."""
        start, end = min(start, end), max(start, end)
        return Text(self.text[:start] + new + self.text[end:], self.unit)
