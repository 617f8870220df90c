"""Which rules can be carried out on the shards of one rank, found out before anything changes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

from initdsl.language.syntax.nodes import Assign
from initdsl.network.description import Live
from initdsl.network.kinds import is_sharded
from initdsl.planning.actions import Action, Kept, Reset, builds_on_values
from initdsl.planning.locality import Scope, draws, reads, scope
from initdsl.planning.plan import Plan, PlanEntry
from initdsl.text.diagnostic import Diagnostic, ResolveError

from .placements import index_text, spans

__all__ = ["ShardView", "review"]


WHOLE = "whole-on-every-rank"


def review(plan: Plan, live: Live) -> Plan:
    """Return the plan with what of each tensor this rank holds, and notes on what can't be done by parts.

    A network without shards has none of either. Raises ResolveError for what a rank can't know: unseeded draws, values
    that other ranks hold, a part that is a sum.
    """
    parts: dict[int, str] = {}
    unknown = []
    for info, tensor in zip(plan.network.tensors, live.tensors, strict=True):
        if is_sharded(tensor):
            try:
                parts[info.index] = index_text(spans(tensor))
            except ValueError as error:
                unknown.append(Diagnostic("unknown-shards", f"`{info.name}` can't be filled by parts: {error}"))
    if unknown:
        raise ResolveError(unknown)
    if not parts:
        return plan
    _refuse_expectations(plan, live)
    view = ShardView(plan, live)
    view.check(plan.order)
    entries = {e.tensor.index: replace(e, part=parts.get(e.tensor.index, "")) for e in plan.entries}
    return replace(
        plan,
        entries=tuple(entries.values()),
        order=tuple(entries[e.tensor.index] for e in plan.order),
        notes=(*(note for note in plan.notes if note.name != WHOLE), *_whole_on_every_rank(plan, view)),
    )


def _whole_on_every_rank(plan: Plan, view: ShardView) -> Iterator[Diagnostic]:
    """Notes on the rules for which every rank makes whole tensors."""
    whole: dict[int, list[str]] = {}
    for entry in plan.order:
        for action in entry.actions:
            if view.looks_whole(entry, action):
                whole.setdefault(action.clause.number, []).append(entry.label)
    for number, labels in whole.items():
        rule = plan.clauses[number].rule
        more = f" and {len(labels) - 1} more" if len(labels) > 1 else ""
        yield Diagnostic(
            WHOLE,
            f"every rank makes the whole of `{labels[0]}`{more}, one at a time, and keeps its part",
            plan.rules.source(rule.source),
            rule.value.span if isinstance(rule, Assign) else rule.span,
            None,
            "note",
        )


def _refuse_expectations(plan: Plan, live: Live) -> None:
    problems = []
    for expected in plan.expected:
        info, rule = plan.network.tensors[expected.tensor], expected.rule
        if is_sharded(live.tensors[expected.tensor]):
            problems.append(
                Diagnostic(
                    "needs-shards", f"`{info.name}` is sharded, and this rank does not see all the values an expectation is about",
                    plan.rules.source(rule.source), rule.span, "look at the checkpoint instead, with `initdsl verify`",
                )
            )  # fmt: skip
    if problems:
        raise ResolveError(problems)


class ShardView:
    """A plan as one rank sees it."""

    def __init__(self, plan: Plan, live: Live):
        self.plan = plan
        self.live = live
        self.entries = {entry.tensor.index: entry for entry in plan.entries}
        self._scopes: dict[tuple[int, int], Scope] = {}

    def is_sharded(self, tensor: int) -> bool:
        """Whether this rank holds a part of a tensor."""
        return is_sharded(self.live.tensors[tensor])

    def shares(self, entry: PlanEntry) -> Callable[[int], bool]:
        """Whether what this rank holds of another tensor covers what it holds of the entry's."""
        mine: Any = self.live.tensors[entry.tensor.index]

        def share(index: int) -> bool:
            info, other = self.plan.network.tensors[index], self.live.tensors[index]
            if info.shape != entry.shape:
                return False
            return not is_sharded(other) or (
                other.device_mesh == mine.device_mesh and other.placements == mine.placements  # type: ignore[union-attr]
            )

        return share

    def scope(self, entry: PlanEntry, action: Action) -> Scope:
        key = (entry.tensor.index, id(action))
        if key not in self._scopes:
            self._scopes[key] = scope(self.plan, entry, action, self.shares(entry))
        return self._scopes[key]

    def looks_whole(self, entry: PlanEntry, action: Action) -> bool:
        """Whether more than a rank's part is made for an action."""
        if isinstance(action.payload, Kept) or not self.is_sharded(entry.tensor.index):
            return any(self.is_sharded(t) for t in reads(action))
        return isinstance(action.payload, Reset) or self.scope(entry, action) != Scope.ELEMENT

    def check(self, entries: Iterable[PlanEntry]) -> None:
        """Raises ResolveError for what this rank can't know."""
        problems = []
        for entry in entries:
            found = ((action, self.problem(entry, action)) for action in entry.actions)
            action, problem = next(((a, problem) for a, problem in found if problem is not None), (None, None))
            if action is not None and problem is not None:
                rule = action.clause.rule
                span = getattr(rule, "value", rule).span
                problems.append(
                    Diagnostic("needs-shards", problem[0], self.plan.rules.source(rule.source), span, problem[1])
                )
        if problems:
            raise ResolveError(problems)

    def problem(self, entry: PlanEntry, action: Action) -> tuple[str, str] | None:
        """Why a rank can't carry an action out, and what to do."""
        plan = self.plan
        if isinstance(action.payload, Kept):
            return None
        if self.is_sharded(entry.tensor.index):
            if plan.seed is None and (isinstance(action.payload, Reset) or draws(action)):
                return (
                    f"`{entry.label}` is sharded: without a seed every rank would draw from its own generator",
                    "give `seed=`: then each rank draws its part of the same whole",
                )
            if isinstance(action.payload, Reset):
                return None
            needed = self.scope(entry, action)
            if needed == Scope.TENSOR and not self.determined(entry.tensor.index):
                return (
                    f"this looks at values of `{entry.label}` that other ranks hold",
                    "set the parameter as a whole first, or apply these rules before sharding",
                )
            if needed == Scope.ELEMENT:
                return None
        for other in reads(action):
            if self.is_sharded(other) and not self.determined(other):
                name = plan.network.label(plan.network.tensors[other])
                return (
                    f"this reads values of `{name}` that other ranks hold",
                    "set that parameter by a rule, shard both alike, or apply these rules before sharding",
                )
        return None

    def determined(self, index: int) -> bool:
        """Whether the rules alone tell a tensor's values."""
        entry = self.entries.get(index)
        if entry is None:
            return False
        if entry.base is None:
            if entry.status != "set" or any(builds_on_values(action) for action in entry.edits):
                return False
        elif isinstance(entry.base.payload, Kept):
            return False
        needed = {other for action in entry.actions for other in reads(action)}
        return all(not self.is_sharded(o) or self.determined(o) for o in needed)
