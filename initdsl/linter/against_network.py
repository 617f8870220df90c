"""Linting against a network: the resolver's findings, and the plan that lints with `needs="network"` look at."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from initdsl.language.rules.ruleset import RuleSet
from initdsl.text.diagnostic import Diagnostic

if TYPE_CHECKING:
    from initdsl.planning.plan import Plan

__all__ = ["Resolve", "against"]


def against(net: Any) -> Resolve:
    """What resolves a rule set against `net`: an `nn.Module` or a described network."""
    from initdsl.network.describe import describe
    from initdsl.network.description import Network

    network: Network = net if isinstance(net, Network) else describe(net)[0]

    def resolved(rules: RuleSet, initializers: Collection[str] = ()) -> tuple[Plan | None, list[Diagnostic]]:
        from initdsl.initializers import default_registry
        from initdsl.planning.resolve import Resolver

        resolver = Resolver(rules, network, default_registry(), {})
        plan = resolver.plan(None, None, False)
        found = [d for d in resolver.problems if not (d.name == "unknown-initializer" and _registered(d, initializers))]
        # what a plan notes is worth a finding
        notes = [replace(note, severity="warning") for note in resolver.notes]
        return (None if resolver.problems else plan), [*found, *resolver.warnings, *notes]

    return resolved


def _registered(finding: Diagnostic, names: Collection[str]) -> bool:
    return any(f"`{name}`" in finding.message for name in names)


# resolves a rule set against a network, given the names of initializers that Python code registers: the plan (`None`
# where there is none), and what is wrong
Resolve = Callable[[RuleSet, Collection[str]], tuple[Any, Iterable[Diagnostic]]]
