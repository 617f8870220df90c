"""A plan as Markdown, for the comment of a pull request or the page of a model."""

from __future__ import annotations

from initdsl.planning.plan import Plan
from initdsl.text.markdown import cut, inline, section
from initdsl.text.wording import relative_location

from .table import HEADINGS, rows_of, summary

__all__ = ["LARGEST_COMMENT", "plan_markdown"]


# characters that the comments of code hosts hold, with room for what a job adds
LARGEST_COMMENT = 60_000


def plan_markdown(plan: Plan, largest: int = LARGEST_COMMENT) -> str:
    """Return a line of totals, the table of a plan, folded where it is long, ties and findings, in at most so many characters."""
    blocks = [f"**Initialization:** {inline(summary(plan))}"]
    rows = [row.cells for row in rows_of(plan, group=True)]
    if rows:
        name = relative_location(next(iter(plan.rules.sources), "rules"))
        blocks.append(section(f"Parameters by {inline(name)}", HEADINGS, rows))
    lines = [f"tied: {' = '.join(names)}" for names in plan.tied]
    for finding in plan.findings:
        place = f" ({finding.location})" if finding.location else ""
        lines.append(f"{finding.severity}[{finding.name}]: {finding.message}{place}")
    if lines:
        blocks.append("\n".join(f"- {inline(line)}" for line in lines))
    return cut(blocks, largest)
