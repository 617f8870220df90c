"""A diff as Markdown, for the comment of a pull request."""

from __future__ import annotations

from initdsl.text.diagnostic import printable

from .diff import Diff
from .rows import HEADINGS, KINDS, Row, rows_of, summary, tie_lines

__all__ = ["diff_markdown"]


# rows of one kind that are shown; what is more is folded
MOST_ROWS = 12


def diff_markdown(diff: Diff, largest: int) -> str:
    """Return a summary line, a table for each kind of change, and long tables folded, in at most `largest` characters.

    Where that is too little, rows are left out, and counted.
    """
    blocks = [f"**Initialization:** {_inline(summary(diff))}"]
    for kind, changes in {**diff.groups, "renamed": diff.renamed}.items():
        if changes:
            rows = rows_of(changes)
            table = f"{_head()}\n" + "\n".join(map(_line, rows))
            title = f"{len(changes)} {KINDS[kind]}"
            blocks.append(
                _folded(title, table) if len(rows) > MOST_ROWS or kind == "moved" else f"#### {title}\n\n{table}"
            )
    blocks += [f"- {_inline(line)}" for line in tie_lines(diff)]
    return _cut(blocks, largest)


def _head() -> str:
    return f"| {' | '.join(HEADINGS)} |\n|{'---|' * len(HEADINGS)}"


def _line(row: Row) -> str:
    return f"| {' | '.join(_code(cell) for cell in row)} |"


def _code(text: str) -> str:
    """Return a cell as code: nothing in it is markup. Backquotes and bars can't stand in the code of a table."""
    text = printable(text).replace("`", "'").replace("|", "\\|")
    return f"`{text}`" if text else ""


def _inline(text: str) -> str:
    """Return text in which no character is markup."""
    return "".join(f"\\{c}" if c in "\\`*_{}[]<>#|~!@" else c for c in printable(text))


def _folded(title: str, table: str) -> str:
    return f"<details><summary>{title}</summary>\n\n{table}\n\n</details>"


def _cut(blocks: list[str], largest: int) -> str:
    """Return the blocks, without those rows that are too many: the longest tables give way first."""
    text = "\n\n".join(blocks) + "\n"
    while len(text) > largest:
        number = max(range(len(blocks)), key=lambda n: len(blocks[n]))
        lines = blocks[number].splitlines()
        rows = [n for n, line in enumerate(lines) if line.startswith("| `")]
        if len(rows) < 2:
            return text[: max(0, largest - 2)] + "…\n"
        gone = rows[len(rows) // 2 :]
        kept = [line for n, line in enumerate(lines) if n not in set(gone) and not line.startswith("| and ")]
        left = sum(_rows_left_out(line) for line in lines) + len(gone)
        kept.insert(gone[0], f"| and {left} rows more{' |' * len(HEADINGS)}")
        blocks = [*blocks[:number], "\n".join(kept), *blocks[number + 1 :]]
        text = "\n\n".join(blocks) + "\n"
    return text


def _rows_left_out(line: str) -> int:
    return int(line.split()[2]) if line.startswith("| and ") else 0
