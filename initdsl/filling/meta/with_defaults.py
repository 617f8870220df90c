"""A plan in which parameters that no rule reaches get their modules' own defaults."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from initdsl.language.expressions.let import Lets
from initdsl.language.syntax.nodes import Default
from initdsl.language.syntax.parse import parse_source
from initdsl.language.syntax.state import DEFAULT_LIMITS
from initdsl.network.selectors.matches import Match
from initdsl.planning.actions import Action, Clause, Kept, Reset
from initdsl.planning.plan import Plan, PlanEntry
from initdsl.text.diagnostic import Diagnostic, ResolveError
from initdsl.text.source import Source
from initdsl.text.wording import listed

__all__ = ["DEFAULTS", "with_defaults"]


DEFAULTS = Source("<defaults>", "default net")


# ---- what is not covered


def with_defaults(plan: Plan, *, keep: bool = False) -> None:
    """Give every parameter of a plan that no rule sets (or that `keep` names) its module's own default.

    With `keep`, only those without memory. Raises ResolveError that names the parameters without one.
    """
    rules, problems = parse_source(DEFAULTS, DEFAULT_LIMITS)
    rule = rules[0]
    assert not problems
    assert isinstance(rule, Default)
    resolver = plan.resolver
    clause = Clause(len(plan.clauses), rule, Lets(), None, rule.targets)
    modules = plan.network.modules
    _computed_first(plan)
    missing: list[PlanEntry] = []
    changed = False
    for entry in plan.entries:
        if entry.tensor.kind == "buffer" or (entry.base is not None and not isinstance(entry.base.payload, Kept)):
            continue
        if keep and entry.tensor.device != "meta":
            continue
        owners = [owner for owner, _ in entry.tensor.owners]
        owner = next((o for o in owners if modules[o].reset is not None), None)
        if owner is None or entry.tensor.problem is not None:
            if not _sliced_whole(entry):
                missing.append(entry)
            continue
        changed = True
        match = Match(owner, entry.tensor.index)
        entry.base = Action(clause, "default", Reset(owner), match, entry.tensor.shape)
    if changed:
        from initdsl.planning.assemble import Assembly

        plan.clauses.append(clause)
        plan.rules = resolver.rules = plan.rules.model_copy(
            update={"sources": {**plan.rules.sources, DEFAULTS.name: DEFAULTS.text}}
        )
        assembly = Assembly(resolver, resolver.values.infos)
        plan.resets, plan.order = [], []
        assembly._resets(plan)
        assembly._order(plan)
        missing += _unset(plan, {e.tensor.index for e in missing})
    if missing:
        names = listed([entry.label for entry in missing], 12)
        count = f"{len(missing)} parameter{'s' * (len(missing) > 1)}"
        raise ResolveError(
            Diagnostic(
                "no-default", f"no rule sets {count}, and their modules have no `reset_parameters` that does: {names}",
                hint="give them rules: without one they would hold whatever was in memory",
            )
        )  # fmt: skip


def _sliced_whole(entry: PlanEntry) -> bool:
    """Whether slices that are set make up the whole parameter."""
    return entry.base is None and bool(entry.edits) and entry.status == "set"


def _computed_first(plan: Plan) -> None:
    """Where all that a computed weight is computed from is uncovered, the weight itself gets the default."""
    network = plan.network
    entries = {e.tensor.index: e for e in plan.entries}
    for tensor in network.tensors:
        if tensor.kind != "parametrized" or tensor.index in entries or tensor.problem is not None:
            continue
        if network.modules[tensor.owners[0][0]].reset is None:
            continue
        behind = network.originals(tensor)
        if all(b in entries and entries[b].base is None and not entries[b].edits for b in behind):
            place = min(plan.entries.index(entries[b]) for b in behind)
            plan.entries = [e for e in plan.entries if e.tensor.index not in behind]
            plan.entries.insert(place, PlanEntry(plan, tensor, None, []))


class _Writes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the storages that operations write to."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.storages: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        for place, argument in enumerate(func._schema.arguments):
            if argument.alias_info is not None and argument.alias_info.is_write:
                value = args[place] if place < len(args) else kwargs.get(argument.name)
                for each in value if isinstance(value, list | tuple) else (value,):
                    if isinstance(each, torch.Tensor):
                        self.storages.add(each.untyped_storage()._cdata)
        return func(*args, **kwargs)


def _unset(plan: Plan, known: set[int]) -> list[PlanEntry]:
    """Parameters that are to be default and that no reset writes to: tried on stand-ins without memory."""
    from initdsl.filling.random_state import isolated
    from initdsl.filling.stand_ins import shell_of

    assert plan.live is not None
    written: set[int] = set()
    for index, mine in plan.resets:
        if plan.network.modules[index].cls.qualname.startswith("torch.nn."):  # torch's own set all that they have
            written.update(mine)
            continue
        made: dict[int, nn.Parameter] = {}
        shell = shell_of(plan.live.modules[index], made, "meta")
        try:
            with isolated(None), torch.no_grad(), _Writes() as writes:
                getattr(shell, plan.network.modules[index].reset or "")()
        except Exception:  # it looks at values: what it leaves unset shows after the fill
            written.update(mine)
            continue
        for tensor in mine:
            live = plan.live.tensors[tensor]
            if live is None or (id(live) in made and made[id(live)].untyped_storage()._cdata in writes.storages):
                written.add(tensor)
    return [
        e for e in plan.entries
        if e.base is not None and isinstance(e.base.payload, Reset)
        and e.tensor.index not in written and e.tensor.index not in known
    ]  # fmt: skip
