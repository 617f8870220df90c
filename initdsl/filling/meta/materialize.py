"""Networks built without memory, filled once: `materialize`, and what it needs of a plan.

Only parameters go to the meta device, each as it is registered; buffers are computed as ever, so that rotary tables,
masks and running statistics are right. What no rule reaches gets its module's own `reset_parameters`, and a parameter
that has no such default is refused by name before anything is allocated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from initdsl.filling.boxes import memory_of
from initdsl.filling.computed_weights import follow
from initdsl.filling.execute import execute
from initdsl.filling.sharded.agree import agreed
from initdsl.filling.sharded.review import review
from initdsl.network.description import Live
from initdsl.planning.actions import Reset
from initdsl.planning.make import check_seed, make_plan_of, warn_of
from initdsl.planning.plan import Plan, PlanEntry
from initdsl.text.diagnostic import ApplyError, Diagnostic
from initdsl.text.wording import listed

from .allocate import allocate, meta_buffers, settle_buffers
from .construct import construct
from .with_defaults import with_defaults

if TYPE_CHECKING:
    from initdsl.language.rules.loader import Rules

__all__ = ["left_unset", "materialize"]


def materialize(
    factory: Callable[[], nn.Module], rules: Rules, device: torch.device | str | int = "cpu", seed: int | None = None, *,
    vars: Mapping[str, Any] | None = None, strict: bool = False,
    initializers: Mapping[str, Callable[..., Any]] | None = None, root: Any = None,
    on_init: Callable[[PlanEntry], Any] | None = None,
) -> nn.Module:  # fmt: skip
    """Build a network without memory, check the rules against it, allocate it once on `device` and fill it once.

    `factory` is called without arguments and returns the network. Parameters that no rule reaches get the
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
    check_seed(seed)
    net = construct(factory, seed)
    with agreed(net):
        options = {"seed": seed, "vars": vars, "strict": strict, "initializers": initializers, "root": root}
        plan, live = make_plan_of(net, rules, **options)
        plan = review(with_defaults(plan, live), live)
        without_values = meta_buffers(plan, live)
    where = torch.device(device)
    allocate(plan.network, live, where)
    settle_buffers(plan, live, without_values, where)
    for _, tensor in _by_default(plan, live):
        tensor.fill_(float("nan"))  # what a reset leaves unset must not pass for a value
    _fill(plan, live, on_init)
    warn_of(plan, uncovered=False)
    return net


def _fill(plan: Plan, live: Live, on_init: Callable[[PlanEntry], Any] | None) -> None:
    execute(plan, live, on_init, fresh=True)
    with torch.no_grad():
        for module in live.modules:
            follow(module)
    bad = [e.label for e, tensor in _by_default(plan, live) if not e.edits and bool(tensor.isnan().any())]
    if bad:
        raise left_unset(bad)


def left_unset(labels: list[str]) -> ApplyError:
    """The error for parameters that their modules' own resets should have set, and did not."""
    return ApplyError(
        Diagnostic(
            "no-default", f"the reset of their modules leaves these unset: {listed(labels, 12)}",
            hint="give them rules of their own",
        )
    )  # fmt: skip


def _by_default(plan: Plan, live: Live) -> Iterator[tuple[PlanEntry, torch.Tensor]]:
    """The entries that start from their module's own default, with their tensors."""
    for entry in plan.order:
        tensor = live.tensors[entry.tensor.index]
        default = entry.base is not None and isinstance(entry.base.payload, Reset)
        if default and tensor is not None and tensor.is_floating_point():
            yield entry, memory_of(tensor)
