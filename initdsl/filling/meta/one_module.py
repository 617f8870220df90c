"""What a function that fills one module after the other can't do, refused when it is made."""

from __future__ import annotations

from collections.abc import Iterator

from initdsl.network.description import Live
from initdsl.planning.actions import Reset
from initdsl.planning.plan import Plan, PlanEntry
from initdsl.text.diagnostic import Diagnostic, ResolveError
from initdsl.text.wording import listed

__all__ = ["places_of", "refuse_what_needs_the_network"]


def places_of(plan: Plan, entry: PlanEntry) -> list[tuple[int, str]]:
    """Return where a tensor is held, as `(module, local name)`, under the names that rules tie to it too."""
    tied = [number for number, first in plan.tied_to.items() if first == entry.tensor.index]
    tensors = plan.network.tensors
    return [place for number in dict.fromkeys([entry.tensor.index, *tied]) for place in tensors[number].owners]


def refuse_what_needs_the_network(plan: Plan, live: Live, *, allocates: bool) -> None:
    """Refuse rules that look at other modules, or edit twice; buffers without values, if the function `allocates`.

    Raises ResolveError.
    """
    foreign: dict[int, Diagnostic] = {}  # by clause, each said of its first tensor
    for entry in plan.order:
        for clause, diagnostic in (*_foreign_reads(plan, entry), *_foreign_resets(plan, entry)):
            foreign.setdefault(clause, diagnostic)
    problems = [*foreign.values(), *_edited_twice(plan), *(_without_values(plan, live) if allocates else ())]
    if problems:
        raise ResolveError(problems)


def _foreign_reads(plan: Plan, entry: PlanEntry) -> Iterator[tuple[int, Diagnostic]]:
    """Yield the clauses, by number, that make an entry from another module's parameters, and what to say of them."""
    tensors = plan.network.tensors
    own = {owner for owner, _ in places_of(plan, entry)}
    for action in entry.actions:
        others = [t for t in action.reads if not own & {owner for owner, _ in tensors[t].owners}]
        if others:
            rule = action.clause.rule
            message = (
                f"`{entry.label}` is made from `{plan.network.label(tensors[others[0]])}`, and a function of one module "
                "sees only that module's parameters"
            )
            hint = "fill the model with `initdsl.apply`"
            source = plan.rules.source(rule.source)
            yield action.clause.number, Diagnostic("reads-another-module", message, source, rule.span, hint)


def _foreign_resets(plan: Plan, entry: PlanEntry) -> Iterator[tuple[int, Diagnostic]]:
    """Yield the clause, by number, of a default that a module gives to those below it, and what to say of it."""
    if entry.base is None or not isinstance(entry.base.payload, Reset):
        return
    own = {owner for owner, _ in places_of(plan, entry)}
    modules = plan.network.modules
    above = [i for i, tensors in plan.resets if entry.tensor.index in tensors and i not in own]
    above = [i for i in above if not modules[i].parameters]
    if above:
        reset = f"`{modules[above[0]].cls.name}.{modules[above[0]].reset}`"
        message = f"the default of `{entry.label}` is given by {reset}, which acts on the modules below it"
        hint = "give it a rule, or fill the model with `initdsl.apply`"
        yield entry.base.clause.number, Diagnostic("reads-another-module", message, hint=hint)


def _edited_twice(plan: Plan) -> Iterator[Diagnostic]:
    """Yield the first edit of what is there, of a module that `net.apply` visits more than once."""
    for entry in plan.order:
        above = {index for owner, _ in entry.tensor.owners for index in _above(plan, owner)}
        if entry.base is None and any(len(plan.network.modules[index].parents) > 1 for index in above):
            rule = entry.edits[0].clause.rule
            message = (
                f"`{entry.label}` belongs to a shared module, which is visited once for each of its names: each visit "
                "would edit it again"
            )
            hint = "set it before it is edited, or fill the model with `initdsl.apply`"
            yield Diagnostic("edited-twice", message, plan.rules.source(rule.source), rule.span, hint)
            return


def _above(plan: Plan, module: int) -> set[int]:
    """Return a module and all that hold it."""
    above: set[int] = set()
    stack = [module]
    while stack:
        current = stack.pop()
        if current not in above:
            above.add(current)
            stack += [parent for parent, _ in plan.network.modules[current].parents]
    return above


def _without_values(plan: Plan, live: Live) -> Iterator[Diagnostic]:
    """Yield an error for buffers that would get memory and no values, if there are any."""
    filled = {entry.tensor.index for entry in plan.order}
    filled |= {index for index, source in plan.tied_to.items() if source in filled}
    unset = [
        plan.network.label(info)
        for info in plan.network.tensors
        if info.kind == "buffer" and info.device == "meta" and info.index not in filled
        if not all(hasattr(live.modules[owner], "reset_running_stats") for owner, _ in info.owners)
    ]
    if unset:
        message = f"no rule sets these buffers on the meta device: {listed(unset, 12)}"
        hint = "give them rules, or build the model under `initdsl.materialize`, which computes buffers"
        yield Diagnostic("needs-values", message, hint=hint)
