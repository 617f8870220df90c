"""`plan`: rules on a network, from what a user has at hand."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from initdsl.initializers import Registry, default_registry
from initdsl.language.rules.loader import Rules, coerce
from initdsl.network.describe import describe
from initdsl.network.description import Network
from initdsl.network.garbage import MANY, no_collection
from initdsl.text.diagnostic import UncoveredParameterWarning, UnmatchedRuleWarning
from initdsl.text.wording import listed

from .plan import Plan
from .resolve import resolve

if TYPE_CHECKING:
    from torch import nn

__all__ = ["check_seed", "plan", "warn", "warn_of"]


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
        from initdsl.filling.sharded.review import review

        review(made)
    return made


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


def warn(made: Plan) -> None:
    """Warn of rules that select nothing, on behalf of the caller's caller."""
    from initdsl.text.diagnostic import UnmatchedRuleWarning

    for finding in made.warnings:
        hint = f"; {finding.hint}" if finding.hint else ""
        warnings.warn(f"{finding.message}{hint} ({finding.location})", UnmatchedRuleWarning, stacklevel=3)
