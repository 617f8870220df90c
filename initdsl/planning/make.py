"""Plans made from what a user has at hand: rules as text, a file or a value, on a module or a described model."""

from __future__ import annotations

import operator
import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from initdsl.initializers import Registry, default_registry
from initdsl.language.rules.loader import Rules, coerce
from initdsl.network.describe import describe
from initdsl.network.description import Live, Network
from initdsl.network.garbage import MANY, no_collection
from initdsl.network.kinds import load_code
from initdsl.text.diagnostic import (
    Diagnostic,
    EmptiedModelWarning,
    OverruledRuleWarning,
    RedrawnParameterWarning,
    UncoveredParameterWarning,
    UnmatchedRuleWarning,
)
from initdsl.text.wording import listed

from .plan import Plan
from .resolve import plan_and_findings, raise_for
from .shared_memory import with_shared_memory
from .whole import join, part_of_plan, whole_network

if TYPE_CHECKING:
    from torch import nn

    from .whole import Whole

__all__ = ["check_seed", "make_plan", "make_plan_of", "warn_of"]


def make_plan(
    net: nn.Module | Network,
    rules: Rules,
    *,
    seed: int | None = None,
    vars: Mapping[str, Any] | None = None,
    strict: bool = False,
    initializers: Mapping[str, Callable[..., Any]] | None = None,
    root: str | os.PathLike[str] | None = None,
    whole: Whole | None = None,
    unmet: list[Diagnostic] | None = None,
) -> tuple[Plan, Live | None]:
    """Return the plan of rules on a model, and the model's modules and tensors (None for a described one).

    Nothing is touched; see `initdsl.plan`. Of a `whole` model, `net` is a stage: the plan is that of its part. Expectations
    that can't hold are put in `unmet`, if it is given. Raises ParseError, RuleError or ResolveError with every finding.
    """
    seed = check_seed(seed)
    compiled = coerce(rules, root)
    registry: Registry = default_registry()
    if initializers:
        registry = registry.extended(initializers)
    network, live = (net, None) if isinstance(net, Network) else describe(net)
    joined = None if whole is None else join(whole_network(whole), network, live)
    if joined is not None:
        network, live = joined.network, joined.live
    with no_collection(len(network.modules) >= MANY):
        plan, findings = plan_and_findings(
            compiled, network, registry=registry, variables=vars, strict=strict, seed=seed
        )
    if unmet is not None:
        unmet += [finding for finding in findings if finding.name == "unmet-expectation"]
        findings = [finding for finding in findings if finding.name != "unmet-expectation"]
    raise_for(findings if live is None else [_with_load_code(finding, live) for finding in findings])
    if joined is not None:
        return part_of_plan(plan, joined), live
    return plan if live is None else with_shared_memory(plan, live), live


def _with_load_code(finding: Diagnostic, live: Live) -> Diagnostic:
    """Return what is wrong with a `load`, with a hint at code of the model that may know the file's names."""
    codes = [load_code(module) for module in live.modules] if finding.name == "bad-load" else []
    code = next((code for code in codes if code is not None), None)
    if code is None:
        return finding
    told = f"`load` doesn't run `{code}`: where that renames tensors, save a model that `load_state_dict` has filled"
    return replace(finding, hint=told if finding.hint is None else f"{finding.hint}; {told}")


def make_plan_of(net: nn.Module, rules: Rules, **options: Any) -> tuple[Plan, Live]:
    """Return the plan of rules on a module, and its modules and tensors; see `make_plan`."""
    plan, live = make_plan(net, rules, **options)
    assert live is not None
    return plan, live


def check_seed(seed: Any) -> int | None:
    """Return a seed as an int: whatever has `__index__`, numpy's integers too. Raises TypeError, ValueError."""
    if seed is None:
        return None
    try:
        number = None if isinstance(seed, bool) or type(seed).__name__.startswith("bool") else operator.index(seed)
    except TypeError:
        number = None
    if number is None:
        raise TypeError(f"a seed is an integer, not {type(seed).__name__}")
    if not 0 <= number < 2**64:
        raise ValueError(f"a seed lies between 0 and 2**64 - 1, not {number}")
    return number


# the warnings of rules that do something, and hardly what is meant
REMARKS: Mapping[str, type[Warning]] = {
    "shadowed-rule": OverruledRuleWarning, "dead-edit": OverruledRuleWarning, "shared-memory": OverruledRuleWarning,
    "redrawn-load": RedrawnParameterWarning, "frozen-parameter": RedrawnParameterWarning,
    "emptied-model": EmptiedModelWarning,
}  # fmt: skip


def warn_of(plan: Plan, uncovered: bool = True, loaded: bool = True) -> None:
    """Warn of rules that select nothing or are replaced everywhere, and of draws over values that are frozen.

    If `uncovered`, of parameters that no rule reaches as well; if `loaded`, of draws over values that were loaded.
    """
    for finding in plan.warnings:
        warnings.warn(_sentence(finding), UnmatchedRuleWarning, stacklevel=3)
    for finding in plan.remarks:
        if loaded or finding.name != "redrawn-load":
            warnings.warn(_sentence(finding), REMARKS[finding.name], stacklevel=3)
    left = plan.uncovered if uncovered else []
    if left:
        names = listed([entry.label for entry in left])
        several = len(left) > 1
        which = "parameters, which keep their values" if several else "parameter, which keeps its values"
        warnings.warn(f"no rule reaches {len(left)} {which}: {names}", UncoveredParameterWarning, stacklevel=3)


def _sentence(finding: Diagnostic) -> str:
    hint = f"; {finding.hint}" if finding.hint else ""
    place = f" ({finding.location})" if finding.location else ""
    return f"{finding.message}{hint}{place}"
