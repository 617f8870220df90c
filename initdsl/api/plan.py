"""`Plan`: a plan with what one does with it, and `plan`, which makes one."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from initdsl.language.rules.loader import Rules
from initdsl.network.description import Live, Network
from initdsl.planning import plan as planning
from initdsl.planning.make import make_plan, warn_of
from initdsl.planning.whole import join, live_of
from initdsl.reports.explain import Explanation, explain
from initdsl.reports.flat import flat_plan
from initdsl.reports.markdown import LARGEST_COMMENT, plan_markdown
from initdsl.reports.pages.plan import plan_page
from initdsl.reports.pages.save import save
from initdsl.reports.table import plan_text, summary, table
from initdsl.text.diagnostic import Diagnostic, ResolveError

from .report import Report

if TYPE_CHECKING:
    import torch
    from torch import nn

    from initdsl.planning.whole import Whole


__all__ = ["Plan", "plan"]


@dataclass(frozen=True, repr=False)
class Plan(planning.Plan):
    """What `apply` would do, and nothing done yet: a value that compares, copies and pickles.

    `entries` has every parameter (and every buffer a rule writes to) in the order of `named_parameters()`; `order` is
    the order of the writes; `warnings` are rules that select nothing and may; `notes` what is worth knowing. The model
    it was made for is no part of the value: a copy from elsewhere is applied with `net=`.
    """

    live: Live | None = field(default=None, compare=False)

    def apply(
        self,
        on_init: Callable[[planning.PlanEntry], Any] | None = None,
        sample: torch.Tensor | Any = None,
        *,
        net: nn.Module | None = None,
        generator: torch.Generator | None = None,
    ) -> Report:
        """Carry the plan out on the model it was made for, or on `net`, which must be like it.

        Raises ResolveError where there is no such model, ApplyError where a fill failed; then everything is as it was.
        """
        from initdsl.filling.emptied import with_emptied
        from initdsl.filling.execute import execute

        live = self.live if net is None else self._live_of(net)
        if live is None:
            what = "this plan was made from a description, or elsewhere: there is no model to fill"
            raise ResolveError(Diagnostic("no-network", what, hint="`plan.apply(net=net)` fills one like it"))
        carried = with_emptied(self, live)
        if carried is not self:
            warn_of(replace(carried, warnings=(), remarks=carried.remarks[len(self.remarks) :]), uncovered=False)
        execute(carried, live, on_init, sample=sample, generator=generator)
        return Report(carried, live)

    def _live_of(self, net: nn.Module) -> Live:
        from initdsl.network.describe import describe

        live: Live | None
        network, live = describe(net)
        if self.whole is not None:
            joined = join(self.network, network, live)
            network, live = joined.network, live_of(self, joined)
        if live is None or network.fingerprint() != self.network.fingerprint():
            what = "this model is not like the one the plan was made for"
            raise ResolveError(Diagnostic("changed-network", what, hint="make the plan again, for this model"))
        return live

    def to_dict(self, flat: bool = False) -> dict[str, Any]:
        """Return the plan as JSON-ready values, versioned; `flat`: one level of numbers and texts for an experiment tracker."""
        return flat_plan(self) if flat else super().to_dict()

    def explain(self, name: str) -> Explanation:
        """Every rule that touches one tensor, in order, and which won; see `Explanation`.

        Raises KeyError with the nearest name.
        """
        return explain(self, name)

    def to_markdown(self, largest: int = LARGEST_COMMENT) -> str:
        """Return the plan as Markdown for a comment of at most `largest` characters: totals, a table, ties and findings."""
        return plan_markdown(self, largest)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the plan to a file: a page (`.html`), the values of `to_dict` (`.json`) or the table (`.txt`).

        Raises ValueError for another suffix, OSError where the file can't be written.
        """
        save(path, html=lambda: plan_page(self), data=self.to_dict, text=lambda: str(self))

    def __str__(self) -> str:
        return plan_text(self)

    def __repr__(self) -> str:
        return f"<Plan: {summary(self)}>"

    def _repr_html_(self) -> str:
        return table(self)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "live": None}


def with_live(plan: planning.Plan, live: Live | None) -> Plan:
    """Return a plan with its verbs, for the model that `live` is."""
    return Plan(**{f.name: getattr(plan, f.name) for f in fields(planning.Plan)}, live=live)


def plan(
    net: nn.Module | Network,
    rules: Rules,
    *,
    seed: int | None = None,
    vars: Mapping[str, Any] | None = None,
    strict: bool = False,
    initializers: Mapping[str, Callable[..., Any]] | None = None,
    root: str | os.PathLike[str] | None = None,
    whole: Whole | None = None,
) -> Plan:
    """What `apply` would do to every parameter; touches nothing, and works on the meta device.

    `net` is a module, or a described model (`Network.from_manifest`). The other arguments are those of `apply`.
    Raises ParseError, RuleError or ResolveError with every finding.

    >>> from torch import nn
    >>> print(plan(nn.Linear(2, 3), "Linear.weight = 0; Linear.bias = 1")["weight"])
    Init net.weight [3, 2] = 0
    """
    options: dict[str, Any] = {
        "vars": vars, "strict": strict, "initializers": initializers, "root": root, "whole": whole,
    }  # fmt: skip
    made, live = make_plan(net, rules, seed=seed, **options)
    loads = any(action.loads for action in made.actions)
    if live is not None and (live.elsewhere or loads or any(tensor.sharded for tensor in made.network.tensors)):
        from initdsl.filling.sharded.review import review

        made = review(made, live)
    if live is not None and any(tensor.device == "meta" for tensor in made.network.tensors):
        from initdsl.filling.emptied import note_meta

        note_meta(made.network, live)
    return with_live(made, live)
