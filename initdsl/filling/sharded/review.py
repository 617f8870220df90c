"""Which rules can be carried out on the shards of one rank, told before anything changes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from initdsl.filling.load_code import refuse_load_code
from initdsl.language.syntax.nodes import Assign
from initdsl.network.description import Live
from initdsl.network.kinds import any_sharded, is_sharded
from initdsl.planning.actions import Action, Reset
from initdsl.planning.locality import Locality, locality_of
from initdsl.planning.plan import Plan, PlanEntry
from initdsl.text.diagnostic import Diagnostic, ResolveError

from .placements import index_text, intervals

__all__ = ["ShardView", "refuse_partial_resets", "refuse_unknown", "review", "scope_here", "view_of"]


WHOLE = "whole-on-every-rank"


def review(plan: Plan, live: Live) -> Plan:
    """Return the plan with what of each tensor this rank holds, and notes on what can't be done by parts.

    A model without shards that is no stage of a pipeline has none of either. Raises ResolveError for what a rank can't
    know: unseeded draws, values that other ranks hold, a part that is a sum; and for what the model's own code for
    `load_state_dict` would make something else of than `load`.
    """
    refuse_load_code(plan, live)
    if not any_sharded(live.tensors):
        if live.elsewhere:
            view = view_of(plan, live)
            refuse_unknown(view, plan.order)
            refuse_partial_resets(plan, live)
        return plan
    parts, sums = _parts_of(plan, live)
    if not parts and not sums:
        return plan
    _refuse_expectations(plan, live)
    view = view_of(plan, live)
    refuse_unknown(view, plan.order)
    refuse_partial_resets(plan, live)
    entries = {e.tensor.index: e._replace(part=parts.get(e.tensor.index, "")) for e in plan.entries}
    return replace(
        plan,
        entries=tuple(entries.values()),
        order=tuple(entries[e.tensor.index] for e in plan.order),
        notes=(*(note for note in plan.notes if note.name != WHOLE), *_whole_on_every_rank(view)),
    )


def _parts_of(plan: Plan, live: Live) -> tuple[dict[int, str], set[int]]:
    """Return which part of each sharded tensor is here, by number, and the tensors of which that can't be said.

    Raises ResolveError for those of the latter that a rule sets or could: what no rule speaks of, such as a count of tokens
    that is a sum over ranks, is left alone.
    """
    parts: dict[int, str] = {}
    unknown: dict[int, Diagnostic] = {}
    for info, tensor in zip(plan.network.tensors, live.tensors, strict=True):
        if is_sharded(tensor):
            try:
                parts[info.index] = index_text(intervals(tensor))
            except ValueError as error:
                message = f"`{info.label}` can't be filled by parts: {error}"
                unknown[info.index] = Diagnostic("unknown-shards", message)
    concerned = {entry.tensor.index for entry in plan.entries if entry.actions or entry.tensor.kind == "parameter"}
    refused = [finding for number, finding in unknown.items() if number in concerned]
    if refused:
        raise ResolveError(refused)
    return parts, set(unknown)


def _whole_on_every_rank(view: ShardView) -> Iterator[Diagnostic]:
    """Yield notes on the rules for which every rank makes whole tensors."""
    labels: dict[int, list[str]] = {}
    for entry in view.plan.order:
        for action in entry.actions:
            if _looks_whole(view, entry, action):
                labels.setdefault(action.clause.number, []).append(entry.label)
    for number, tensors in labels.items():
        rule = view.plan.clauses[number].rule
        more = f" and {len(tensors) - 1} more" if len(tensors) > 1 else ""
        yield Diagnostic(
            WHOLE,
            f"every rank makes the whole of `{tensors[0]}`{more}, one at a time, and keeps its part",
            view.plan.rules.source(rule.source),
            rule.value.span if isinstance(rule, Assign) else rule.span,
            None,
            "note",
        )


def _refuse_expectations(plan: Plan, live: Live) -> None:
    problems = []
    for expected in plan.expected:
        if is_sharded(live.tensors[expected.tensor]):
            name, rule = plan.network.tensors[expected.tensor].name, expected.rule
            message = f"`{name}` is sharded, and this rank does not see all the values an expectation is about"
            hint = "look at the checkpoint instead, with `initdsl verify`"
            problems.append(Diagnostic("needs-shards", message, plan.rules.source(rule.source), rule.span, hint))
    if problems:
        raise ResolveError(problems)


# ---- a plan as one rank sees it


@dataclass(frozen=True, eq=False)
class ShardView:
    """A plan, and the model of which this rank holds parts: `ShardView(plan, live, {0: entry, 1: other})`.

    `entries` are those of the whole model by the number of their tensor.
    """

    plan: Plan
    live: Live
    entries: Mapping[int, PlanEntry]


def view_of(plan: Plan, live: Live) -> ShardView:
    """Return the view that this rank has of a plan."""
    others = () if plan.whole is None else plan.whole.entries
    return ShardView(plan, live, {entry.tensor.index: entry for entry in (*others, *plan.entries)})


def scope_here(view: ShardView, entry: PlanEntry, action: Action) -> Locality:
    """Return what an action has to see, on the boxes of a sharded tensor that this rank holds."""
    return locality_of(view.plan, entry, action, _shares(view, entry))


def refuse_unknown(view: ShardView, entries: Iterable[PlanEntry]) -> None:
    """Refuse entries for which this rank would have to know what it can't. Raises ResolveError."""
    problems = []
    for entry in entries:
        for action in entry.actions:
            problem = _problem(view, entry, action)
            if problem is not None:
                rule = action.clause.rule
                span = rule.value.span if isinstance(rule, Assign) else rule.span
                source = view.plan.rules.source(rule.source)
                problems.append(Diagnostic("needs-shards", problem[0], source, span, problem[1]))
                break
    if problems:
        raise ResolveError(problems)


def _shares(view: ShardView, entry: PlanEntry) -> Callable[[int], bool]:
    """Return what tells whether this rank's part of another tensor covers what it holds of the entry's."""
    own: Any = view.live.tensors[entry.tensor.index]  # a DTensor

    def share(index: int) -> bool:
        other: Any = view.live.tensors[index]
        if view.plan.network.tensors[index].shape != entry.shape or index in view.live.elsewhere:
            return False
        return not is_sharded(other) or (other.device_mesh == own.device_mesh and other.placements == own.placements)

    return share


def _looks_whole(view: ShardView, entry: PlanEntry, action: Action) -> bool:
    """Return whether more than a rank's part is made for an action."""
    if action.keeps or not _is_sharded(view, entry.tensor.index):
        return any(_is_apart(view, tensor) for tensor in action.reads)
    return isinstance(action.payload, Reset) or scope_here(view, entry, action) != Locality.ELEMENT


def _is_sharded(view: ShardView, tensor: int) -> bool:
    """Return whether this rank holds a part of a tensor."""
    return is_sharded(view.live.tensors[tensor])


def _is_apart(view: ShardView, tensor: int) -> bool:
    """Return whether other ranks hold a tensor, or parts of it."""
    return tensor in view.live.elsewhere or _is_sharded(view, tensor)


def _problem(view: ShardView, entry: PlanEntry, action: Action) -> tuple[str, str] | None:
    """Return why a rank can't carry an action out, and what to do about it."""
    if action.keeps:
        return None
    in_stage = bool(view.live.elsewhere)
    if in_stage or _is_sharded(view, entry.tensor.index):
        if view.plan.seed is None and (isinstance(action.payload, Reset) or action.draws):
            what = "in a stage of a pipeline" if in_stage else "sharded"
            return (
                f"`{entry.label}` is {what}: without a seed every rank would draw from its own generator",
                "give `seed=`: then each rank draws its part of the same whole",
            )
    if _is_sharded(view, entry.tensor.index):
        if isinstance(action.payload, Reset):
            return None
        needed = scope_here(view, entry, action)
        if needed == Locality.TENSOR and not _is_determined(view, entry.tensor.index):
            return (
                f"this looks at values of `{entry.label}` that other ranks hold",
                "set the parameter as a whole first, or apply these rules before sharding",
            )
        if needed == Locality.ELEMENT:
            return None
    for other in action.reads:
        if _is_apart(view, other) and not _is_determined(view, other):
            name = view.plan.network.label(view.plan.network.tensors[other])
            return (
                f"this reads values of `{name}` that other ranks hold",
                "set that parameter by a rule, shard both alike, or apply these rules before sharding",
            )
    return None


def _is_determined(view: ShardView, index: int) -> bool:
    """Return whether the rules alone tell a tensor's values."""
    entry = view.entries.get(index)
    if entry is None or (index in view.live.elsewhere and _needs_its_module(view, entry)):
        return False
    if entry.base is None:
        if entry.status != "set" or any(action.builds_on_values for action in entry.edits):
            return False
    elif entry.base.keeps:
        return False
    needed = {other for action in entry.actions for other in action.reads}
    return all(not _is_apart(view, other) or _is_determined(view, other) for other in needed)


def _needs_its_module(view: ShardView, entry: PlanEntry) -> bool:
    """Return whether a tensor can't be made without the module that holds it: by its own reset, or through another one."""
    if entry.base is not None and isinstance(entry.base.payload, Reset):
        return True
    return entry.tensor.kind == "parametrized" or entry.tensor.index in view.plan.network.computed


def refuse_partial_resets(plan: Plan, live: Live) -> None:
    """Refuse defaults of modules of which this stage lacks some tensors. Raises ResolveError."""
    network, problems = plan.network, []
    for index, tensors in plan.resets if live.elsewhere else ():
        below = {t for i in network.reachable(index) for t in network.modules[i].state.values()}
        if index in live.missing or not live.elsewhere.isdisjoint(below):
            module, tensor = network.modules[index], network.tensors[tensors[0]]
            message = f"the default of `{tensor.label}` is given by `{module.label}.{module.reset}`, and this stage has not all of that module"
            hint = "give it a rule"
            problems.append(Diagnostic("needs-shards", message, hint=hint))
    if problems:
        raise ResolveError(problems)
