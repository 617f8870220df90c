"""Module defaults: which modules' own `reset_parameters` run, and which tensors each may set."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from initdsl.language.syntax.nodes import Default
from initdsl.network.description import Network
from initdsl.network.parts import ClassInfo
from initdsl.network.selectors.select import select
from initdsl.text.diagnostic import Diagnostic
from initdsl.text.wording import listed

from .actions import Clause, Reset
from .context import Context
from .plan import PlanEntry
from .selecting import selectors_at
from .statements import Statement

__all__ = ["Resets", "planned_resets", "resets_of", "without_default"]


# modules whose own reset runs, in the order they do, each with the tensors it may set
Resets = tuple[tuple[int, tuple[int, ...]], ...]


def planned_resets(context: Context, statements: Sequence[Statement], entries: Iterable[PlanEntry]) -> Resets:
    """Return the modules that `default` statements reset."""
    settings = {s.clause.number: s.setting for s in statements if isinstance(s.clause.rule, Default)}

    def modules_of(clause: Clause) -> list[int]:
        setting = settings[clause.number]
        assert clause.targets is not None
        matches = select(selectors_at(context, setting, clause.targets.span), clause.targets, setting.frame)
        return [match.module for match in matches if match.tensor is None]

    return resets_of(context.network, context.tied_to, entries, modules_of)


def without_default(context: Context, entries: Iterable[PlanEntry]) -> Iterator[Diagnostic]:
    """Yield `default` statements for parameters of modules that have no `reset_parameters`."""
    without: dict[tuple[Clause, ClassInfo], list[str]] = {}
    for entry in entries:
        if entry.base is not None and isinstance(entry.base.payload, Reset):
            module = context.network.modules[entry.base.payload.module]
            if module.reset is None:
                without.setdefault((entry.base.clause, module.cls), []).append(entry.label)
    for (clause, cls), labels in without.items():
        one = len(labels) == 1
        assert clause.targets is not None
        yield Diagnostic(
            "no-default",
            f"`{cls.name}` has parameters and no `reset_parameters`, so {listed(labels)} {'has' if one else 'have'} no default",
            context.rules.source(clause.rule.source),
            clause.targets.span,
            f"give {'it a rule of its' if one else 'them rules of their'} own, after this one",
        )


class ModulesOf(Protocol):
    """Return the modules that a clause's selector selects as such."""

    def __call__(self, clause: Clause) -> Iterable[int]: ...


def resets_of(
    network: Network, tied_to: Mapping[int, int], entries: Iterable[PlanEntry], modules_of: ModulesOf
) -> Resets:
    """Return the modules whose own `reset_parameters` bring defaults back, and which tensors each may set."""
    by_module: dict[int, set[int]] = {}
    by_clause: dict[Clause, set[int]] = {}
    for entry in entries:
        if entry.base is not None and isinstance(entry.base.payload, Reset):
            by_module.setdefault(entry.base.payload.module, set()).add(entry.tensor.index)
            by_clause.setdefault(entry.base.clause, set()).add(entry.tensor.index)

    def below(module: int) -> set[int]:
        tensors = (t for i in network.reachable(module) for t in network.modules[i].state.values())
        return {tied_to.get(t, t) for t in tensors}

    # a module's own reset may set parameters of the modules below it (nn.MultiheadAttention: out_proj.bias)
    default = {t for tensors in by_clause.values() for t in tensors}
    for module, tensors in by_module.items():
        tensors |= default & below(module)
    # a module that only arranges others (nn.Transformer) resets too, what of it is to be default
    for clause, tensors in by_clause.items():
        for module in network.reachable(*modules_of(clause)):
            arranging = network.modules[module]
            if arranging.reset is not None and not arranging.parameters and (parameters := below(module) & tensors):
                by_module[module] = parameters
    return tuple((module, tuple(sorted(by_module[module]))) for module in network.apply_order if module in by_module)
