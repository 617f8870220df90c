"""Tables: columns of text side by side, and the HTML that notebooks show."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from textwrap import wrap
from typing import NamedTuple

__all__ = ["Cell", "aligned", "described", "html_table"]


class Cell(NamedTuple):
    """What a cell says, and whether that needs a look: `Cell("- uncovered", True)`."""

    text: str
    marked: bool = False


def aligned(rows: Sequence[Sequence[str]], widest: int | None = None) -> list[str]:
    """Return rows as lines whose columns stand below one another.

    A first cell beyond `widest` characters has a line of its own, within the same text; others push theirs aside.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    if widest is not None:
        widths = [min(widest, width) for width in widths]
    return [_line(row, widths) for row in rows]


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
    name = row[0]
    if len(name) <= widths[0] or len(line) == len(name):
        return line
    return f"{name}\n{' ' * widths[0]}{line[len(name) :]}"


def described(rows: Sequence[tuple[str, str]], width: int) -> list[str]:
    """Return terms with what they mean beside them, as lines of at most `width` characters where words allow it.

    A term that would take more than a third of that has lines of its own.
    """
    column = max((len(term) for term, _ in rows if len(term) + 2 <= width // 3), default=2) + 2
    lines: list[str] = []
    for term, meaning in rows:
        beside = [f"{' ' * column}{line}" for line in wrap(meaning, width - column)]
        if len(term) + 2 <= column:
            lines += [f"{term:{column}}{beside[0][column:] if beside else ''}".rstrip(), *beside[1:]]
        else:
            own = wrap(term, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
            lines += [*own, *beside]
    return lines


def html_table(headings: Sequence[str], rows: Iterable[Sequence[Cell]], *, more: int = 0, style: str = "") -> str:
    """Return an HTML table in the notebook's own colours; what needs a look is bold, `more` rows are said to follow.

    `style` is the CSS of every cell. All text is escaped.
    """
    attribute = f' style="{escape(style)}"' if style else ""
    head = "".join(f"<th scope=col{attribute}>{escape(heading)}</th>" for heading in headings)
    body = ["".join(f"<td{attribute}>{_cell_html(cell)}</td>" for cell in row) for row in rows]
    if more:
        body.append(f"<td colspan={len(headings)}>and {more:,} more rows</td>")
    lines = "".join(f"<tr>{cells}</tr>" for cells in body)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>"


def _cell_html(cell: Cell) -> str:
    return f"<b>{escape(cell.text)}</b>" if cell.marked else escape(cell.text)
