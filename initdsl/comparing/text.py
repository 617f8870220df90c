"""A diff as text, for a terminal."""

from __future__ import annotations

from collections.abc import Callable

from initdsl.text.diagnostic import printable
from initdsl.text.tables import aligned

from .diff import Diff
from .rows import HEADINGS, KINDS, growth_lines, rows_of, summary, tie_lines

__all__ = ["diff_text"]


# characters of a cell, above which its neighbours give way
WIDEST = 50


# rows of one table that are shown
MOST_ROWS = 100


# how a line is shown: its text, and what it says: `heading`, a kind of change, `tied` or `summary`
Paint = Callable[[str, str], str]


def _plain(line: str, role: str) -> str:
    return line


def diff_text(diff: Diff, paint: Paint = _plain, most: int | None = MOST_ROWS) -> str:
    """Return a table for each kind of change, ties and totals last; `paint` may colour its lines.

    Of each table at most `most` rows are shown, and the rest counted; None: all of them.
    """
    lines: list[str] = []
    for kind, changes in {**diff.groups, "renamed": diff.renamed}.items():
        if not changes:
            continue
        rows = rows_of(changes)
        shown = [column for column in range(len(HEADINGS)) if any(row[column] for row in rows)]
        cells = [[HEADINGS[c] for c in shown], *([printable(row[c]) for c in shown] for row in rows[:most])]
        lines.append(paint(f"{KINDS[kind]}:", "heading"))
        lines += [paint(f"  {line}", kind) for line in aligned(cells, WIDEST)]
        if most is not None and len(rows) > most:
            lines.append(paint(f"  and {len(rows) - most:,} rows more", "heading"))
        lines.append("")
    lines += [paint(printable(line), "tied") for line in tie_lines(diff)]
    lines += [paint(line, "growth") for line in growth_lines(diff)]
    lines.append(paint(summary(diff), "summary"))
    return "\n".join(lines)
