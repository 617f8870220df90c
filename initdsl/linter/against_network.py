"""Linting against a model: the resolver's findings, and the plan that lints with `needs="model"` look at."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from initdsl.language.rules.ruleset import RuleSet
from initdsl.network.description import Network
from initdsl.text.diagnostic import Diagnostic, ResolveError

if TYPE_CHECKING:
    from torch import nn

    from initdsl.planning.plan import Plan

__all__ = ["Resolve", "Resolved", "against"]


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a rule set comes to on a model: the plan of what can be right in it, `None` of none, and what is wrong with it."""

    plan: Plan | None
    findings: tuple[Diagnostic, ...]


class Resolve(Protocol):
    """A function that resolves rule sets against one model; see `against`."""

    def __call__(self, rules: RuleSet, initializers: Collection[str] = ()) -> Resolved:
        """Return what the rules come to. `initializers` are names that Python code registers, and this process lacks."""


def against(net: nn.Module | Network) -> Resolve:
    """Return the function that resolves a rule set against `net`, an `nn.Module` or a described model."""
    live = None
    if isinstance(net, Network):
        network = net
    else:
        from initdsl.diagnosis.norms import asked  # late: it imports torch, which is there where a module is

        network, live = asked(net)

    def resolve(rules: RuleSet, initializers: Collection[str] = ()) -> Resolved:
        from initdsl.planning.resolve import (
            plan_and_findings,  # late: linting without a network does without the planner
        )
        from initdsl.planning.shared_memory import remarks_on_memory

        try:
            plan, findings = plan_and_findings(rules, network)
            if live is not None and plan is not None:
                findings = [*findings, *remarks_on_memory(plan, live)]
        except ResolveError as error:  # too much work
            return Resolved(None, error.diagnostics)
        # what a plan only notes is worth a finding, but for what the rules ask for
        is_news = [f.severity == "note" and not f.intended for f in findings]
        findings = [replace(f, severity="warning") if new else f for f, new in zip(findings, is_news, strict=True)]
        return Resolved(plan, tuple(f for f in findings if not _is_registered(f, initializers)))

    return resolve


def _is_registered(problem: Diagnostic, names: Collection[str]) -> bool:
    return problem.name == "unknown-initializer" and any(f"`{name}`" in problem.message for name in names)
