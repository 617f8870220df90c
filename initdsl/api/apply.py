"""`apply`: rules on a model, carried out."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from initdsl.filling.emptied import with_emptied
from initdsl.filling.execute import execute
from initdsl.filling.sharded.agreement import agreed
from initdsl.filling.sharded.review import review
from initdsl.language.rules.loader import Rules
from initdsl.network.description import Network
from initdsl.planning.make import make_plan_of, warn_of
from initdsl.planning.plan import PlanEntry

from .plan import with_live
from .report import Report

if TYPE_CHECKING:
    import torch
    from torch import nn

    from initdsl.planning.whole import Whole

__all__ = ["apply"]


def apply(
    net: nn.Module,
    rules: Rules,
    *,
    seed: int | None = None,
    vars: Mapping[str, Any] | None = None,
    strict: bool = False,
    on_init: Callable[[PlanEntry], Any] | None = None,
    initializers: Mapping[str, Callable[..., Any]] | None = None,
    root: str | os.PathLike[str] | None = None,
    whole: Whole | None = None,
    sample: torch.Tensor | Any = None,
    generator: torch.Generator | None = None,
) -> Report:
    """Fill a model in place by its rules; return what was done.

    `rules` are text, a path (a `Path`, or a string that ends in `.init`) or a compiled `RuleSet`. `seed` gives every
    parameter a stream of its own; without it torch's global generator draws, in the order of `net.apply`. `vars`
    override `let` names. `strict` refuses a rule set that leaves a parameter uncovered, and rules that select nothing.
    `on_init` is called with every filled entry. `initializers` are further functions rules may call. `root` is the
    folder `use` and `load` may not leave. `whole` is the model of which `net` is a stage of a pipeline: a module on the
    meta device, a `Network` or the path of a manifest; rules are resolved on that, and the stage gets its part by name.
    `sample` is what initializers that look at data run the model on: a tensor, a tuple or list of arguments, or a dict
    of keyword arguments; without such a rule it is not looked at. `generator` draws in place of torch's global one, as
    it does in `torch.nn.init`; it goes with no seed.

    Raises ParseError, RuleError or ResolveError before anything changes, ApplyError where a fill failed: then
    parameters, buffers, ties and random states are as they were.

    >>> from torch import nn
    >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> report = apply(net, "Linear.weight ~ normal(0, 0.01); Linear.bias = 0", on_init=print)
    Init net[0].weight [8, 4] ~ normal(0, 0.01)
    Init net[0].bias [8] = 0
    Init net[2].weight [2, 8] ~ normal(0, 0.01)
    Init net[2].bias [2] = 0
    """
    if isinstance(net, Network):
        raise TypeError("a described model has nothing to fill; `plan` takes it")
    options: dict[str, Any] = {
        "vars": vars, "strict": strict, "initializers": initializers, "root": root, "whole": whole,
    }  # fmt: skip
    with agreed(net, whole):
        plan, live = make_plan_of(net, rules, seed=seed, **options)
        plan = with_emptied(review(plan, live), live, strict)
        warn_of(plan)  # first: where a warning is made an error, nothing has changed
    execute(plan, live, on_init, sample=sample, generator=generator)
    return Report(with_live(plan, live), live)
