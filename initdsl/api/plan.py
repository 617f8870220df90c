"""The Python interface: plan and apply rules on a network. Importing this imports torch; the package does so late."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from initdsl.initializers import Registry, default_registry
from initdsl.language.rules.loader import RuleSet, coerce
from initdsl.network.describe import MANY, Network, describe, no_collection
from initdsl.network.selectors.select import listed
from initdsl.planning.plan import Plan, PlanEntry
from initdsl.planning.resolve import resolve
from initdsl.reports.table import Report
from initdsl.text.diagnostic import UncoveredParameterWarning, UnmatchedRuleWarning

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["Rules", "agreed", "apply", "check_seed", "plan", "warn_of"]


Rules = str | os.PathLike[str] | RuleSet


def plan(
    net: nn.Module | Network, rules: Rules, *, seed: int | None = None, vars: Mapping[str, Any] | None = None,
    strict: bool = False, initializers: Mapping[str, Callable[..., Any]] | None = None,
    root: str | os.PathLike[str] | None = None,
) -> Plan:  # fmt: skip
    """What `apply` would do to every parameter; touches nothing, and works on the meta device.

    `net` is a module, or a described network (`Network.from_manifest`). The other arguments are those of `apply`.
    Raises ParseError, RuleError or ResolveError with every finding.

    >>> from torch import nn
    >>> print(plan(nn.Linear(2, 3), "Linear.weight = 0; Linear.bias = 1")["weight"])
    Init net.weight [3, 2] = 0
    """
    check_seed(seed)
    compiled = coerce(rules, root)
    registry: Registry = default_registry()
    if initializers:
        registry = registry.extended(initializers)
    network, live = (net, None) if isinstance(net, Network) else describe(net)
    with no_collection(len(network.modules) >= MANY):
        made = resolve(compiled, network, live=live, registry=registry, variables=vars, strict=strict, seed=seed)
    made.net = net
    if live is not None and any(tensor.sharded for tensor in network.tensors):
        from initdsl.filling.sharded.fill import review

        review(made)
    return made


def apply(
    net: nn.Module, rules: Rules, *, seed: int | None = None, vars: Mapping[str, Any] | None = None,
    strict: bool = False, on_init: Callable[[PlanEntry], Any] | None = None,
    initializers: Mapping[str, Callable[..., Any]] | None = None, root: str | os.PathLike[str] | None = None,
    sample: torch.Tensor | Any = None,
) -> Report:  # fmt: skip
    """Fill a network in place by its rules; returns what was done.

    `rules` are text, a path (a `Path`, or a string that ends in `.init`) or a compiled `RuleSet`. `seed` gives every
    parameter a stream of its own; without it torch's global generator draws, in the order of `net.apply`. `vars`
    override `let` names. `strict` refuses a rule set that leaves a parameter uncovered. `on_init` is called with every
    filled entry. `initializers` are further functions rules may call. `root` is the folder `use` and `load` may not
    leave. `sample` is what initializers that look at data run the network on: a tensor, a tuple or list of arguments, or
    a dict of keyword arguments; without such a rule it is not looked at.

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
        raise TypeError("a described network has nothing to fill; `plan` takes it")
    with agreed(net):
        made = plan(net, rules, seed=seed, vars=vars, strict=strict, initializers=initializers, root=root)
        warn_of(made)  # first: where a warning is made an error, nothing has changed
    return made.apply(on_init, sample)


def agreed(net: Any) -> AbstractContextManager[Any]:
    """What goes wrong in the block is told to the ranks that hold other shards of the network, if it has any."""
    if "torch.distributed.tensor" not in sys.modules:
        return nullcontext()
    from initdsl.filling.sharded import fill as sharded

    return sharded.agreed(net)


def warn_of(made: Plan, uncovered: bool = True) -> None:
    """Warn of rules that select nothing and, if `uncovered`, of parameters that no rule reaches."""
    for finding in made.warnings:
        hint = f"; {finding.hint}" if finding.hint else ""
        warnings.warn(f"{finding.message}{hint} ({finding.location})", UnmatchedRuleWarning, stacklevel=3)
    left = made.uncovered if uncovered else []
    if left:
        names = listed([entry.label for entry in left])
        count = f"{len(left)} parameter{'s' * (len(left) > 1)} and keep{'s' * (len(left) == 1)} {'its' if len(left) == 1 else 'their'} values"
        warnings.warn(
            f"no rule reaches {count.replace(' and keep', ', which keep')}: {names}",
            UncoveredParameterWarning,
            stacklevel=3,
        )


def check_seed(seed: Any) -> None:
    if seed is None:
        return
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise TypeError(f"a seed is an integer, not {type(seed).__name__}")
    if not 0 <= seed < 2**64:
        raise ValueError(f"a seed lies between 0 and 2**64 - 1, not {seed}")
