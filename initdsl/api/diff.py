"""`diff`: what one plan does otherwise than another."""

from __future__ import annotations

from initdsl.comparing.diff import Diff, compare
from initdsl.planning.plan import Plan

__all__ = ["Diff", "diff"]


def diff(old: Plan, new: Plan) -> Diff:
    """Return what `new` does otherwise than `old`: a value, true where anything differs.

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
    return compare(old, new)
