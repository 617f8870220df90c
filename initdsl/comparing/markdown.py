"""A diff as Markdown, for the comment of a pull request."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from initdsl.text.markdown import code, cut, inline, section

from .diff import Diff
from .rows import HEADINGS, KINDS, growth_lines, rows_of, summary, tie_lines

__all__ = ["diff_markdown", "diffs_markdown"]


def diff_markdown(diff: Diff, largest: int) -> str:
    """Return a summary line, a table for each kind of change, and long tables folded, in at most `largest` characters.

    Where that is too little, rows are left out, and counted.
    """
    return cut([f"**Initialization:** {inline(summary(diff))}", *_details(diff)], largest)


def diffs_markdown(diffs: Mapping[str, Diff], largest: int) -> str:
    """Return several diffs in one comment: those that changed something, by the names of their rule files, and the others in a line.

    One that goes by no name stands alone.
    """
    if list(diffs) == [""]:
        return diff_markdown(diffs[""], largest)
    changed = {name: diff for name, diff in diffs.items() if diff}
    count = f"{len(changed)} of {len(diffs)}" if changed else "none"
    blocks = [f"**Initialization:** {count} rule file{'s' * (len(diffs) != 1)} changes what a model starts as"]
    for name, diff in changed.items():
        blocks += [f"### {code(name)}\n\n{inline(summary(diff))}", *_details(diff)]
    same = [code(name) for name, diff in diffs.items() if not diff]
    if same and changed:
        blocks.append(f"No change: {', '.join(same)}")
    return cut(blocks, largest)


def _details(diff: Diff) -> Iterator[str]:
    """Yield a table for each kind of change, and what is tied or grows otherwise."""
    for kind, changes in {**diff.groups, "renamed": diff.renamed}.items():
        if changes:
            yield section(f"{len(changes)} {KINDS[kind]}", HEADINGS, rows_of(changes), fold=kind == "moved")
    lines = [*tie_lines(diff), *growth_lines(diff)]
    if lines:
        yield "\n".join(f"- {inline(line)}" for line in lines)
