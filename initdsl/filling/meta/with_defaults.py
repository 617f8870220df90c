"""A plan in which parameters that no rule reaches get their modules' own defaults."""

from __future__ import annotations

from dataclasses import replace

import torch

from initdsl.filling.random_state import isolated
from initdsl.filling.stand_ins import shell_of
from initdsl.filling.unset import Writes, sets_itself, tensors_kept
from initdsl.language.syntax.nodes import Default
from initdsl.language.syntax.parse import parse_source
from initdsl.language.syntax.state import DEFAULT_LIMITS
from initdsl.network.description import Live
from initdsl.planning.actions import Action, Clause, Reset
from initdsl.planning.order import Circle, write_order
from initdsl.planning.plan import Plan, PlanEntry
from initdsl.planning.resets import resets_of
from initdsl.planning.resolve import selections
from initdsl.planning.torch_defaults import known_default
from initdsl.text.diagnostic import Diagnostic, ResolveError
from initdsl.text.source import Source
from initdsl.text.wording import listed

__all__ = ["DEFAULTS", "with_defaults"]


DEFAULTS = Source("<defaults>", "default net")


def with_defaults(plan: Plan, live: Live, *, keep: bool = False) -> Plan:
    """Return a plan in which every parameter that no rule sets (or that `keep` names) gets its module's own default.

    With `keep`, only those without memory. Raises ResolveError that names the parameters without one.
    """
    _refuse_edits_of_computed(plan)
    clause = _default_clause(len(plan.clauses))
    modules = plan.network.modules
    missing: list[PlanEntry] = []
    entries: list[PlanEntry] = []
    for entry in _computed_first(plan):
        given = entry.base is not None and not entry.base.keeps
        if entry.tensor.kind == "buffer" or given or (keep and entry.tensor.device != "meta"):
            entries.append(entry)
            continue
        owner = next((o for o, _ in entry.tensor.owners if modules[o].reset is not None), None)
        if owner is None or entry.tensor.problem is not None:
            if not _sliced_whole(entry):
                missing.append(entry)
            entries.append(entry)
            continue
        reset = Reset(owner, known_default(plan.network, owner, entry.tensor))
        default = Action(clause, "default", reset, entry.tensor.shape, clause.effect, module=owner)
        entries.append(entry._replace(base=default))
    if any(entry.base is not None and entry.base.clause == clause for entry in entries):
        plan = _with_clause(plan, clause, entries)
        missing += _unset(plan, live, {e.tensor.index for e in missing})
    if missing:
        names = listed([entry.label for entry in missing], 12)
        count = f"{len(missing)} parameter{'s' * (len(missing) > 1)}"
        raise ResolveError(
            Diagnostic(
                "no-default",
                f"no rule sets {count}, and their modules have no `reset_parameters` that does: {names}",
                hint="give them rules: without one they would hold whatever was in memory",
            )
        )
    return plan


def _refuse_edits_of_computed(plan: Plan) -> None:
    """Refuse edits of a computed weight of which rules set what it is computed from: a default would undo that.

    Raises ResolveError.
    """
    edits = [entry for entry in plan.entries if entry.tensor.kind == "parametrized" and entry.status == "partial"]
    if not edits:
        return
    by_rules = {entry.tensor.index for entry in plan.entries if entry.base is not None and not entry.base.keeps}
    for entry in edits:
        behind = plan.network.originals(entry.tensor)
        if by_rules.isdisjoint(behind):
            continue
        rule = entry.edits[0].clause.rule
        names = listed([plan.network.label(plan.network.tensors[number]) for number in behind])
        message = f"this edits `{entry.label}`, which is computed from {names}, and other rules set those"
        hint = f"set `{entry.label}` before it is edited, or build the model as usual and fill it with `initdsl.apply`"
        raise ResolveError(Diagnostic("needs-values", message, plan.rules.source(rule.source), rule.span, hint))


def _default_clause(number: int) -> Clause:
    """Return `default net`, as the statement after a plan's last."""
    rules, problems = parse_source(DEFAULTS, DEFAULT_LIMITS)
    rule = rules[0]
    assert not problems
    assert isinstance(rule, Default)
    return Clause(number, rule, rule.targets, DEFAULTS.text, f"{DEFAULTS.name}:1:1", "default")


def _with_clause(plan: Plan, clause: Clause, entries: list[PlanEntry]) -> Plan:
    """Return a plan with another statement at its end, and what that makes of the entries."""
    earlier = {c.number: selection for c, selection in selections(plan) if isinstance(c.rule, Default)}

    def modules_of(clause: Clause) -> list[int]:
        selection = earlier.get(clause.number)
        return [0] if selection is None else [m.module for m in selection.matches if m.tensor is None]

    order = write_order(plan.network, plan.tied_to, entries)
    assert not isinstance(order, Circle)  # a default reads nothing
    rules = plan.rules.model_copy(update={"sources": {**plan.rules.sources, DEFAULTS.name: DEFAULTS.text}})
    count = sum(entry.base is not None and entry.base.clause == clause for entry in entries)
    return replace(
        plan,
        rules=rules,
        entries=tuple(entries),
        order=tuple(order),
        resets=resets_of(plan.network, plan.tied_to, entries, modules_of),
        clauses=(*plan.clauses, clause),
        hits=(*plan.hits, count),
        selected=(*plan.selected, len(entries)),
    )


def _sliced_whole(entry: PlanEntry) -> bool:
    """Return whether slices that are set make up the whole parameter."""
    return entry.base is None and bool(entry.edits) and entry.status == "set"


def _computed_first(plan: Plan) -> list[PlanEntry]:
    """Return the entries; where all that a computed weight is computed from is uncovered, the weight itself in place of it."""
    network = plan.network
    entries = {e.tensor.index: e for e in plan.entries}
    listed_entries = list(plan.entries)
    for tensor in network.tensors:
        if tensor.kind != "parametrized" or tensor.index in entries or tensor.problem is not None:
            continue
        if network.modules[tensor.owners[0][0]].reset is None:
            continue
        behind = network.originals(tensor)
        if all(b in entries and not entries[b].actions for b in behind):
            place = min(listed_entries.index(entries[b]) for b in behind)
            listed_entries = [e for e in listed_entries if e.tensor.index not in behind]
            aliases = tuple(network.names(tensor))
            listed_entries.insert(place, PlanEntry(tensor, aliases, network.label(tensor)))
    return listed_entries


def _unset(plan: Plan, live: Live, missing: set[int]) -> list[PlanEntry]:
    """Return the entries that are to be default and that no reset writes to, but for those `missing` already."""
    written: set[int] = set()
    for index, tensors in plan.resets:
        written |= _written_by_reset(plan, live, index, tensors)
    return [
        entry
        for entry in plan.entries
        if entry.base is not None and isinstance(entry.base.payload, Reset)
        if entry.tensor.index not in written and entry.tensor.index not in missing
        if entry.tensor.kind != "buffer" or entry.tensor.device == "meta"
    ]


def _written_by_reset(plan: Plan, live: Live, index: int, tensors: tuple[int, ...]) -> set[int]:
    """Return which of some tensors a module's own reset writes to: tried on stand-ins without memory."""
    info = plan.network.modules[index]
    if all(sets_itself(plan.network, live, plan.network.tensors[tensor]) for tensor in tensors):
        return set(tensors)
    stand_ins: dict[int, torch.Tensor] = {}
    shell = shell_of(live.modules[index], stand_ins, "meta")
    try:
        with isolated(None), torch.no_grad(), Writes() as writes, tensors_kept(shell):
            getattr(shell, info.reset or "")()
    except Exception:  # it looks at values: what it leaves unset shows after the fill
        return set(tensors)
    written = set()
    for tensor in tensors:
        current = live.tensors[tensor]
        stand_in = stand_ins.get(id(current))
        if current is None or (stand_in is not None and stand_in.untyped_storage()._cdata in writes.storages):
            written.add(tensor)
    return written
