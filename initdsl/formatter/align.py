"""Aligning the operators and the trailing comments of neighbouring statements."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import cast

from initdsl.text.wording import cell_width

from .entries import Entry
from .lines import INDENT, WIDTH

__all__ = ["align"]


# operators are aligned while the texts before them differ by at most so many cells
SPREAD = 16


def align(entries: list[Entry]) -> None:
    """Put the operators, then the trailing comments, of neighbouring lines below each other."""
    for run in _runs(entries, lambda e: e.parts and e.parts[0]):
        for section in _sections([_columns(entry) for entry in run], WIDTH):
            size = max(_columns(run[i])[0] for i in section)
            for i in section:
                width, _ = _columns(run[i])
                _, targets, operator, value = cast(tuple[str, str, str, str], run[i].parts)
                run[i].lines = [f"{' ' * (run[i].depth * INDENT)}{targets}{' ' * (size - width)} {operator}{value}"]
    for run in _runs(entries, lambda e: "" if e.comment and e.single else None):
        widths = [cell_width(entry.lines[0]) for entry in run]
        for section in _sections([(width, 0) for width in widths], max(widths)):
            size = max(widths[i] for i in section)
            for i in section:
                run[i].distance = 2 + size - widths[i]


def _columns(entry: Entry) -> tuple[int, int]:
    """Return the column in which a statement's operator ends, and the number of cells behind it."""
    _, targets, operator, value = cast(tuple[str, str, str, str], entry.parts)
    return entry.depth * INDENT + cell_width(targets) + 1 + len(operator), cell_width(value)


def _runs(entries: list[Entry], key: Callable[[Entry], str | None]) -> Iterator[list[Entry]]:
    """Yield runs of entries on adjacent lines with the same key; those with the key None are left out."""
    run: list[Entry] = []
    for entry in entries:
        if run and (entry.blank or entry.depth != run[-1].depth or key(entry) != key(run[-1])):
            yield run
            run = []
        if key(entry) is not None:
            run.append(entry)
    if run:
        yield run


def _sections(columns: list[tuple[int, int]], width: int) -> Iterator[list[int]]:
    """Yield the parts of a run, as indices, in which alignment moves no line by more than SPREAD or over the width.

    One line that does not fit in stands alone, and those on both sides of it stay together.
    """
    left = list(range(len(columns)))
    while left:
        section: list[int] = []
        others: list[int] = []
        low = high = longest = 0
        for place, i in enumerate(left):
            if section and i - section[-1] > 2:
                others += left[place:]
                break
            column, rest = columns[i]
            around = (min(low, column), max(high, column), max(longest, rest)) if section else (column, column, rest)
            if section and (around[1] - around[0] > SPREAD or around[1] + around[2] > width):
                others.append(i)
                continue
            section.append(i)
            low, high, longest = around
        yield section
        yield from ([i] for i in others if i < section[-1])
        left = [i for i in others if i > section[-1]]
