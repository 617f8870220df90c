"""`Diff`: what one plan does otherwise than another, with what one does with it; and `diff`, which compares."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from initdsl.comparing import diff as comparing
from initdsl.comparing.flat import flat_diff
from initdsl.comparing.markdown import diff_markdown
from initdsl.comparing.page import Compared, diff_page
from initdsl.comparing.text import diff_text
from initdsl.reports.markdown import LARGEST_COMMENT
from initdsl.reports.pages.save import save
from initdsl.text.diagnostic import Diagnostic, ResolveError

from .plan import Plan

__all__ = ["Diff", "diff", "diffs_page"]


@dataclass(frozen=True)
class Diff(comparing.Diff):
    """What a plan does otherwise than another: a value, true where anything differs.

    `drawn` are tensors that are drawn otherwise, `set` those set otherwise; `covered` are set now and were not,
    `uncovered` the other way round; `reshaped` have another shape or dtype, and are not among the others; `derived` are
    made as before, of tensors that change. `added` and
    `removed` are tensors that one model lacks; `renamed` are proposed among these, never assumed: the same shape and
    the same rule under another name. `moved` are drawn alike and have other values, as the seed or the stream is
    another. Each is a tuple of changes with `name`, `before`, `after` and `ratio`, of the standard deviations. `tied`
    are names of one tensor that were not, or are no longer. `same` counts the tensors that stay as they are. `growth` is
    how activations and gradients grow before and after, where the models were run.
    """

    plans: tuple[Plan, Plan] | None = field(default=None, compare=False, repr=False)

    def to_dict(self, flat: bool = False) -> dict[str, Any]:
        """Return the diff as JSON-ready values, versioned; `flat`: one level of numbers for an experiment tracker."""
        return flat_diff(self) if flat else super().to_dict()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the diff to a file: a page (`.html`), the values of `to_dict` (`.json`) or the table (`.txt`).

        Raises ValueError for another suffix, OSError where the file can't be written.
        """
        save(path, html=self._page, data=self.to_dict, text=lambda: str(self))

    def _page(self) -> str:
        return diffs_page({"": self})

    def to_markdown(self, largest: int = LARGEST_COMMENT) -> str:
        """Return the diff as Markdown for a comment of at most `largest` characters: totals, a table, details folded."""
        return diff_markdown(self, largest)

    def __str__(self) -> str:
        return diff_text(self)


def diff(old: Plan, new: Plan, *, sample: Any = None, input_shape: Sequence[int] | None = None) -> Diff:
    """Return what `new` does otherwise than `old`.

    The plans may be of one model under two sets of rules, or of two models. How rules say it makes no difference,
    what tensors start as does. With a `sample`, or random input of `input_shape`, copies of both models are filled and
    run once, and `growth` says how activations and gradients grow: see `initdsl.diagnose`, which raises what it says.
    Raises TypeError for what is no plan, ResolveError where a model is to be run and there is none.

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
    if sample is not None or input_shape is not None:
        inputs: dict[str, Any] = {"sample": sample, "input_shape": input_shape}
        found = replace(found, growth=(_growth(old, inputs), _growth(new, inputs)))
    return Diff(**{f.name: getattr(found, f.name) for f in fields(comparing.Diff)}, plans=(old, new))


def diffs_page(diffs: Mapping[str, Diff]) -> str:
    """Return diffs, by the names of their rule files, as one HTML page."""
    compared = {}
    for name, found in diffs.items():
        assert found.plans is not None
        title = name or next(iter(found.plans[1].rules.sources), "rules")
        compared[title] = Compared(found, *found.plans)
    return diff_page(compared)


def _growth(plan: Plan, inputs: Mapping[str, Any]) -> comparing.Growth | None:
    """Return how signals grow in a model as a plan starts it; None where there are no layers to count depth along.

    Without a seed it is seed 0: input and draws are then the same for both plans.
    """
    from initdsl.diagnosis.run import diagnose  # late: it loads torch

    if plan.live is None:
        what = "this plan was made from a description, or elsewhere: there is no model to run"
        raise ResolveError(Diagnostic("no-network", what, hint="make the plan on the model"))
    seed = 0 if plan.seed is None else plan.seed
    trunk = diagnose(plan.live.modules[0], plan.rules, vars=dict(plan.variables), seed=seed, **inputs).trunk
    return None if trunk is None else comparing.Growth(len(trunk.layers), trunk.growth, trunk.grad_growth)
