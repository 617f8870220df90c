"""Markdown for the comments of code hosts: text in which nothing is markup, tables, and a limit on the whole."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .diagnostic import printable

__all__ = ["code", "cut", "folded", "inline", "section", "table"]


# rows of a table that are shown; one that has more is folded
MOST_ROWS = 12


def code(text: str) -> str:
    """Return a cell as code: nothing in it is markup. Backquotes and bars can't stand in the code of a table."""
    text = printable(text).replace("`", "'").replace("|", "\\|")
    return f"`{text}`" if text else ""


def inline(text: str) -> str:
    """Return text in which no character is markup."""
    return "".join(f"\\{c}" if c in "\\`*_{}[]<>#|~!@&" else c for c in printable(text))


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table whose cells are code."""
    head = f"| {' | '.join(headings)} |\n|{'---|' * len(headings)}"
    return "\n".join([head, *(f"| {' | '.join(code(cell) for cell in row)} |" for row in rows)])


def section(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]], fold: bool = False) -> str:
    """Return a table under its title, folded where it is long."""
    body = table(headings, rows)
    return folded(title, body) if fold or len(rows) > MOST_ROWS else f"#### {title}\n\n{body}"


def folded(title: str, body: str) -> str:
    """Return what opens when one clicks on its title."""
    return f"<details><summary>{title}</summary>\n\n{body}\n\n</details>"


def cut(blocks: Sequence[str], largest: int) -> str:
    """Return blocks of at most so many characters, without the rows that are too many: long tables give way first."""
    blocks = list(blocks)
    text = "\n\n".join(blocks) + "\n"
    while len(text) > largest:
        number = max(range(len(blocks)), key=lambda n: len(blocks[n]))
        shorter = _halved(blocks[number])
        if shorter is None:
            return text[: max(0, largest - 2)] + "…\n"
        blocks[number] = shorter
        text = "\n\n".join(blocks) + "\n"
    return text


def _halved(block: str) -> str | None:
    """Return a block with half the rows of its table, the others counted; None where it has no two."""
    lines = block.splitlines()
    rows = [n for n, line in enumerate(lines) if line.startswith("| `")]
    if len(rows) < 2:
        return None
    gone = set(rows[len(rows) // 2 :])
    kept = [line for n, line in enumerate(lines) if n not in gone and not line.startswith("| and ")]
    left = sum(_rows_left_out(line) for line in lines) + len(gone)
    columns = next(line.count("---|") for line in lines if line.startswith("|---"))
    kept.insert(min(gone), f"| and {left} rows more{' |' * columns}")
    return "\n".join(kept)


def _rows_left_out(line: str) -> int:
    return int(line.split()[2]) if line.startswith("| and ") else 0
