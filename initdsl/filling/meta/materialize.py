"""Models built without memory, filled once.

Only parameters go to the meta device, each as it is registered; buffers are computed as ever, so that rotary tables,
masks and running statistics are right. What no rule reaches gets its module's own `reset_parameters`, and a parameter
that has no such default is refused by name before anything is allocated.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from initdsl.filling.execute import execute
from initdsl.filling.sharded.agreement import agreed
from initdsl.filling.sharded.review import review
from initdsl.planning.make import check_seed, make_plan_of, warn_of
from initdsl.planning.plan import PlanEntry

from .allocate import allocate, meta_buffers, settle_buffers
from .construct import construct
from .with_defaults import with_defaults

if TYPE_CHECKING:
    from initdsl.language.rules.loader import Rules
    from initdsl.planning.whole import Whole

__all__ = ["materialize"]


def materialize(
    factory: Callable[[], nn.Module],
    rules: Rules,
    device: torch.device | str | int = "cpu",
    seed: int | None = None,
    *,
    vars: Mapping[str, Any] | None = None,
    strict: bool = False,
    initializers: Mapping[str, Callable[..., Any]] | None = None,
    root: str | os.PathLike[str] | None = None,
    whole: Whole | None = None,
    on_init: Callable[[PlanEntry], Any] | None = None,
) -> nn.Module:
    """Build a model without memory, check the rules against it, allocate it once on `device` and fill it once.

    `factory` is called without arguments and returns the model. Parameters that no rule reaches get the
    `reset_parameters()` of their module; `strict` refuses them instead. Shared parameters stay shared, buffers have
    the values the constructor computes. The other arguments are those of `apply`.

    Raises TypeError for a factory that is none, ParseError, RuleError or ResolveError before anything is allocated (a
    parameter without rule and default, a buffer computed from a parameter, a constructor that needs real parameters),
    ApplyError where a fill failed.

    >>> from torch import nn
    >>> net = materialize(lambda: nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8)), "Linear.* ~ normal(0, 0.02)", seed=0)
    >>> net[0].weight.device, net[1].weight.tolist()[:2]
    (device(type='cpu'), [1.0, 1.0])
    """
    seed = check_seed(seed)
    net = construct(factory, seed)
    options: dict[str, Any] = {
        "vars": vars, "strict": strict, "initializers": initializers, "root": root, "whole": whole,
    }  # fmt: skip
    with agreed(net, whole):
        plan, live = make_plan_of(net, rules, seed=seed, **options)
        plan = review(with_defaults(plan, live), live)
        without_values = meta_buffers(plan, live)
    where = torch.device(device)
    allocate(plan.network, live, where)
    settle_buffers(plan, live, without_values, where)
    execute(plan, live, on_init, fresh=True)
    warn_of(plan, uncovered=False)
    return net
