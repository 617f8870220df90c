"""Where text is: sources, spans, and the way from an offset to a line and a column."""

from __future__ import annotations

import os
from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from .failures import reason
from .files import read_beginning

__all__ = ["Source", "Span", "decode", "read_source"]


class Span(NamedTuple):
    """The characters `start` to `end` (exclusive) of one source, counted from 0."""

    start: int
    end: int


class Position(NamedTuple):
    """A place as people count it: line and column from 1, columns in characters."""

    line: int
    column: int


@dataclass(frozen=True)
class Source:
    """A text and the name it goes by: a path, or `<rules>` for text without a file."""

    name: str
    text: str

    @cached_property
    def _lines(self) -> list[int]:
        starts = [0]
        find = self.text.find
        end = find("\n")
        while end >= 0:
            starts.append(end + 1)
            end = find("\n", end + 1)
        return starts

    def position(self, offset: int) -> Position:
        """Return line and column (from 1) of a character offset."""
        line = bisect_right(self._lines, offset)
        return Position(line, offset - self._lines[line - 1] + 1)

    def offset(self, line: int, column: int) -> int:
        """Return the offset of a line and column (from 1), kept within the line."""
        line = min(max(line, 1), len(self._lines))
        start = self._lines[line - 1]
        return min(start + max(column, 1) - 1, start + len(self.line(line)))

    def line(self, line: int) -> str:
        """Return the text of a line (from 1), without its end."""
        start = self._lines[line - 1]
        end = self._lines[line] if line < len(self._lines) else len(self.text)
        return self.text[start:end].rstrip("\r\n")

    def __getitem__(self, span: Span) -> str:
        return self.text[span.start : span.end]


def read_source(path: str | os.PathLike[str], limit: int) -> Source | tuple[str, str]:
    """Return the text of a file, or `(diagnostic name, message)` where it can't be read as one.

    At most `limit` bytes. A byte order mark is dropped; bytes that are not UTF-8 are refused with their offset.
    """
    name = os.fspath(path)
    try:
        if not os.path.isfile(path):
            missing = not os.path.exists(path)
            return "unreadable-file", f"there is no file `{name}`" if missing else f"`{name}` is not a file"
        data = read_beginning(path, limit + 1)
    except (OSError, ValueError) as error:
        why = reason(error) if isinstance(error, OSError) else str(error).lower()
        return "unreadable-file", f"can't read `{name}`: {why}"
    if len(data) > limit:
        return "file-too-large", f"`{name}` is larger than {limit:,} bytes"
    return decode(name, data)


def decode(name: str, data: bytes) -> Source | tuple[str, str]:
    """Return `data` as a source, or `(diagnostic name, message)` if it is not UTF-8."""
    try:
        return Source(name, data.decode("utf-8").removeprefix("\ufeff"))
    except UnicodeDecodeError as error:
        return "not-utf8", f"`{name}` is not UTF-8: byte 0x{data[error.start]:02x} at offset {error.start}"
