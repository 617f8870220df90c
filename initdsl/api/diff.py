"""`Diff`: what one plan does otherwise than another, with what one does with it; and `diff`, which compares."""

from __future__ import annotations

from dataclasses import dataclass, fields

from initdsl.comparing import diff as comparing
from initdsl.comparing.markdown import diff_markdown
from initdsl.comparing.text import diff_text
from initdsl.planning.plan import Plan

__all__ = ["Diff", "diff"]


@dataclass(frozen=True)
class Diff(comparing.Diff):
    """What a plan does otherwise than another: a value, true where anything differs.

    `drawn` are tensors that are drawn otherwise, `set` those set otherwise; `covered` are set now and were not,
    `uncovered` the other way round; `reshaped` have another shape or dtype, and are not among the others. `added` and
    `removed` are tensors that one network lacks; `renamed` are proposed among these, never assumed: the same shape and
    the same rule under another name. `moved` are drawn alike and have other values, as the seed or the stream is
    another. Each is a tuple of changes with `name`, `before`, `after` and `ratio`, of the standard deviations. `tied`
    are names of one tensor that were not, or are no longer. `same` counts the tensors that stay as they are.
    """

    def to_markdown(self, largest: int = 60_000) -> str:
        """Return the diff as Markdown for a comment of at most `largest` characters: totals, a table, details folded."""
        return diff_markdown(self, largest)

    def __str__(self) -> str:
        return diff_text(self)


def diff(old: Plan, new: Plan) -> Diff:
    """Return what `new` does otherwise than `old`.

    The plans may be of one network under two sets of rules, or of two networks. How rules say it makes no difference,
    what tensors start as does. Raises TypeError for what is no plan.

    >>> import initdsl
    >>> from torch import nn
    >>> net = nn.Linear(2, 3)
    >>> before, after = (initdsl.plan(net, f"Linear.weight ~ normal(0, {std})") for std in (0.02, 0.01))
    >>> print(diff(before, after))
    drawn otherwise:
      parameter  shape  before           after            std   rule
      weight     3x2    normal(0, 0.02)  normal(0, 0.01)  x0.5  <rules>:1
    <BLANKLINE>
    1 drawn otherwise; 1 as before (3 elements)
    """
    for plan in (old, new):
        if not isinstance(plan, Plan):
            raise TypeError(f"plans are compared, not {type(plan).__name__}")
    found = comparing.compare(old, new)
    return Diff(**{field.name: getattr(found, field.name) for field in fields(comparing.Diff)})
