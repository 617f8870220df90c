"""What lints ask of a plan. Only this file knows how a plan holds its rules and the actions they come to."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from initdsl.initializers import Constant, Distribution
from initdsl.language.syntax.nodes import Assign, Node, Rule

if TYPE_CHECKING:
    from initdsl.network.parts import ModuleInfo
    from initdsl.planning.actions import Action
    from initdsl.planning.plan import Plan, PlanEntry

    from .file import File

__all__ = [
    "Fill",
    "FillingRule",
    "OverruledRule",
    "base_rule",
    "entry_of_tensor",
    "filling_rules",
    "is_refilled",
    "overruled_by_ties",
    "owners",
    "sets_row",
]


@dataclass(frozen=True, slots=True)
class Fill:
    """A tensor that a rule of the file fills, as the base of what edits add.

    `module` is the one through which the rule selects it; `whole` is false where only a piece or a view is filled.
    `distribution` is what its elements follow, `None` where that can't be told.
    """

    entry: PlanEntry
    module: ModuleInfo
    whole: bool
    distribution: Distribution | None


@dataclass(frozen=True, slots=True)
class FillingRule:
    """A rule of the file and the tensors it is the base of: for `Linear.weight ~ normal()` every such weight, in order.

    `selector` is what it fills: for a `copy`, one of its operands.
    """

    rule: Rule
    selector: Node
    fills: tuple[Fill, ...]


def filling_rules(file: File, plan: Plan) -> list[FillingRule]:
    """Return the rules of the file that are the base of some tensor, each with these tensors."""
    actions: dict[int, list[tuple[PlanEntry, Action]]] = {}
    for entry in plan.entries:
        if entry.base is not None and entry.base.clause.rule.source == file.source.name:
            actions.setdefault(entry.base.clause.number, []).append((entry, entry.base))
    return [
        FillingRule(
            pairs[0][1].clause.rule,
            pairs[0][1].clause.targets,
            tuple(_fill(plan, entry, base) for entry, base in pairs),
        )
        for pairs in actions.values()
    ]


def _fill(plan: Plan, entry: PlanEntry, base: Action) -> Fill:
    module = plan.network.modules[entry.module_of(base)]
    return Fill(entry, module, base.index is None and base.view is None, _distribution(base))


def _distribution(action: Action) -> Distribution | None:
    from initdsl.planning.actions import Value  # late: linting without a network does without the planner

    payload = action.payload
    if isinstance(payload, Value):
        return Constant(float(payload.value))
    return payload if isinstance(payload, Distribution) else None


def base_rule(entry: PlanEntry) -> Rule | None:
    """Return the rule that fills a tensor, if one does."""
    return None if entry.base is None else entry.base.clause.rule


def entry_of_tensor(plan: Plan) -> dict[int, PlanEntry]:
    """Return the plan's entries by the index of their tensor in the model, those of tied ones under every index."""
    entries = {entry.tensor.index: entry for entry in plan.entries}
    tied = {index: entries[first] for index, first in plan.tied_to.items() if first in entries}
    return {**tied, **entries}


def owners(plan: Plan, entry: PlanEntry) -> list[ModuleInfo]:
    """Return the modules that hold a tensor, those included that a tie gives it to."""
    first = entry.tensor.index
    tensors = [first, *(index for index, tied_to in plan.tied_to.items() if tied_to == first and index != first)]
    return [plan.network.modules[module] for t in tensors for module, _ in plan.network.tensors[t].owners]


def is_refilled(entry: PlanEntry) -> bool:
    """Tell whether one later rule fills every piece of a tensor anew, so that nothing of its base remains."""
    filled: Counter[int] = Counter()  # elements, by the number of the rule
    for edit in entry.edits:
        if edit.operator in ("~", "=") and (edit.index is not None or edit.view is not None):
            filled[edit.clause.number] += math.prod(edit.shape)
    return math.prod(entry.shape) in filled.values()


def sets_row(entry: PlanEntry, row: int) -> bool:
    """Tell whether a later `=` sets one row of a tensor, alone or with others."""
    rows = entry.shape[0]
    for edit in entry.edits:
        if not edit.index or edit.operator != "=":
            continue
        first = edit.index[0]
        if isinstance(first, int) and first % rows == row % rows:
            return True
        if isinstance(first, slice) and row % rows in range(*first.indices(rows)):
            return True
    return False


@dataclass(frozen=True, slots=True)
class OverruledRule:
    """A rule that fills nothing, since another one (at `winner`, as in `net.init:3`) fills `entry` by a name it has elsewhere."""

    selector: Node
    entry: PlanEntry
    winner: str


def overruled_by_ties(file: File, plan: Plan) -> Iterator[OverruledRule]:
    """Yield the rules of the file that fill nothing, as later ones fill their tensors through modules they don't name."""
    from initdsl.planning.resolve import selections  # late: linting without a network does without the planner

    shared = {entry.tensor.index: entry for entry in plan.entries if len(entry.aliases) > 1 and entry.base is not None}
    if not shared:
        return
    for clause, selection in selections(plan):
        rule = clause.rule
        if not isinstance(rule, Assign) or rule.source != file.source.name:
            continue
        if rule.operator not in ("=", "~") or plan.hits[clause.number]:
            continue
        for index, matches in selection.by_tensor.items():
            entry = shared.get(index)
            if entry is None or entry.base is None or entry.base.clause.number <= clause.number:
                continue
            winner = entry.base.clause
            if not _say_the_same(rule, winner.rule) and entry.module_of(entry.base) not in {m.module for m in matches}:
                assert clause.targets is not None
                yield OverruledRule(clause.targets, entry, winner.location)
                break


def _say_the_same(one: Assign, other: Rule) -> bool:
    return isinstance(other, Assign) and (one.operator, one.value) == (other.operator, other.value)
