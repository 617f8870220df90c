"""Rules as a function of one module: what `net.apply`, FSDP's `param_init_fn` and trainers of that kind call.

The plan is made once, for the whole model. Each call fills the tensors that a module holds by then: they may have
become other objects (`to_empty`), shards, or have come from the meta device.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import nn

from initdsl import streams
from initdsl.filling.computed_weights import uncached
from initdsl.filling.finish import last_steps
from initdsl.filling.read import held_by
from initdsl.filling.refusals import has_no_memory
from initdsl.filling.run import OnInit, Run, run_of
from initdsl.filling.sharded.fill import shard_ways
from initdsl.filling.sharded.review import refuse_unknown, review, view_of
from initdsl.filling.steps import Ways, claims_of, entry_step, left_step, reset_step, save_tensors, whole_ways
from initdsl.filling.transaction import Step, carry_out
from initdsl.language.rules.loader import Rules
from initdsl.network.description import Live
from initdsl.network.kinds import is_sharded
from initdsl.network.wrappers import unwrap
from initdsl.planning.actions import Reset
from initdsl.planning.make import make_plan_of, warn_of
from initdsl.planning.plan import Plan, PlanEntry
from initdsl.text.diagnostic import Diagnostic, ResolveError
from initdsl.text.wording import listed

from .allocate import give_memory
from .one_module import places_of, refuse_what_needs_the_network
from .with_defaults import with_defaults

__all__ = ["InitFn", "as_init_fn"]


def as_init_fn(
    net: nn.Module,
    rules: Rules,
    *,
    device: torch.device | str | int | None = None,
    on_init: OnInit | None = None,
    **options: Any,
) -> InitFn:
    """See `RuleSet.as_init_fn`."""
    if not isinstance(net, nn.Module):
        raise TypeError(f"an init function belongs to an nn.Module, not to {type(net).__name__}")
    plan, live = make_plan_of(net, rules, **options)
    plan = review(plan, live)
    if any(e.tensor.device == "meta" for e in (*plan.uncovered, *plan.partial)):
        plan = with_defaults(plan, live, keep=True)  # no rule: then no value at all
    warn_of(plan)
    return InitFn(plan, live, None if device is None else torch.device(device), on_init)


class InitFn:
    """Fills a module's own parameters by a plan for the model it is part of; see `RuleSet.as_init_fn`.

    `plan` says what will be done to each, `unfilled` what no call has reached so far.
    """

    def __init__(self, plan: Plan, live: Live, device: torch.device | None, on_init: OnInit | None):
        refuse_what_needs_the_network(plan, live, allocates=device is not None)
        self.plan = plan
        self._device = device
        self._on_init = on_init
        self._live = live
        self._modules = {id(module): index for index, module in enumerate(live.modules)}
        self._entries: dict[int, list[PlanEntry]] = {}
        for entry in plan.order:
            for owner in dict.fromkeys(owner for owner, _ in places_of(plan, entry)):
                self._entries.setdefault(owner, []).append(entry)
        # by tensor, the computed weight that it is, or that is computed from it
        self._together = {
            number: info.index
            for info in plan.network.tensors
            if info.kind == "parametrized"
            for number in (info.index, *plan.network.originals(info))
        }
        self._planned = {entry.tensor.index for entry in plan.order}
        # computed weights whose edits wait for what they are computed from
        self._waiting: set[int] = set()
        # by tensor: the object that was filled last, where its memory was, and the module whose call it was
        self._filled: dict[int, tuple[torch.Tensor | None, int, int]] = {}

    @property
    def unfilled(self) -> list[str]:
        """What rules set and no call has reached yet."""
        return [entry.label for entry in self.plan.order if entry.tensor.index not in self._filled]

    def __call__(self, module: nn.Module) -> None:
        """Fill the module's own parameters. Raises ApplyError where a fill failed: then the module is as it was."""
        index = self._modules.get(id(module))
        if index is None:
            self._refuse_foreign(module)
            return  # a wrapper: what it wraps is visited too
        if self._device is not None:
            _allocate(self.plan, self._live, index, self._device)
        entries = [entry for entry in self._entries.get(index, ()) if self._settle(entry, index)]
        entries = self._with_overwritten(self._without_waiting(entries))
        if not entries:
            return
        _fill(self.plan, self._live, self._on_init, index, entries)
        for entry in entries:
            tensor = self._live.tensors[entry.tensor.index]
            caller = self._filled.get(entry.tensor.index, (None, 0, index))[2]
            self._filled[entry.tensor.index] = (tensor, _address(tensor), caller)

    def _without_waiting(self, entries: list[PlanEntry]) -> list[PlanEntry]:
        """Return entries without edits of computed weights that a later call has to make: see `_awaits`."""
        coming = {entry.tensor.index for entry in entries}
        waiting = {entry.tensor.index for entry in entries if self._awaits(entry, coming)}
        self._waiting |= waiting
        return [entry for entry in entries if entry.tensor.index not in waiting]

    def _awaits(self, entry: PlanEntry, coming: Set[int]) -> bool:
        """Tell whether an entry edits what a weight is computed from, and not all of that is filled, or `coming` now."""
        if entry.base is not None or entry.tensor.kind != "parametrized":
            return False
        behind = self.plan.network.originals(entry.tensor)
        there = self._filled.keys()
        return any(n in self._planned and n not in there and n not in coming for n in behind)

    def _with_overwritten(self, entries: list[PlanEntry]) -> list[PlanEntry]:
        """Return entries with those filled before that these overwrite, though the plan has them later.

        So of a computed weight and what it is computed from the plan's order decides, and not that of the calls. What
        only edits a computed weight is made once, by the call that fills the last of what it is computed from.
        """
        numbers = {entry.tensor.index for entry in entries}
        shared = numbers & self._together.keys()
        if not shared:
            return entries
        again: list[PlanEntry] = []
        written: set[int] = set()  # computed weights of which something was written, in the order of the plan so far
        for entry in self.plan.order:
            number = entry.tensor.index
            if number in shared:
                written.add(self._together[number])
            elif number in self._waiting:
                if not self._awaits(entry, numbers):
                    self._waiting.discard(number)
                    again.append(entry)
            elif entry.base is not None and number in self._filled and self._together.get(number) in written:
                again.append(entry)
        return [*entries, *again]

    def _refuse_foreign(self, module: nn.Module) -> None:
        """Refuse a module with parameters that is no part of the model, and wraps none. Raises ResolveError."""
        own = [name for name, _ in module.named_parameters(recurse=False)]
        if own and id(unwrap(module)) not in self._modules:
            message = (
                f"this `{type(module).__name__}`, with {listed(own)}, is no part of the model that the function was "
                "made for"
            )
            hint = "make it from the model that is filled"
            raise ResolveError(Diagnostic("unknown-module", message, hint=hint))

    def _settle(self, entry: PlanEntry, index: int) -> bool:
        """Bring the plan up to the objects there are now, ties kept; return whether the tensor is this call's to fill."""
        if entry.tensor.kind == "parametrized":
            return True
        modules, places = self._live.modules, places_of(self.plan, entry)
        held = {place: tensor for place in places if (tensor := held_by(modules[place[0]], place[1])) is not None}
        own = {place: tensor for place, tensor in held.items() if place[0] == index}
        current = next(iter(own.values()))
        earlier, address, caller = self._filled.get(entry.tensor.index, (None, 0, index))
        if earlier is not None and any(tensor is earlier for tensor in held.values()):
            current = earlier
        for (owner, local), tensor in own.items():
            if tensor is not current:  # `to_empty` made two of one, or rules tie them
                setattr(modules[owner], local, current)
        self._live.tensors[entry.tensor.index] = current
        return caller == index or earlier is not current or address != _address(current)


def _fill(plan: Plan, live: Live, on_init: OnInit | None, index: int, entries: list[PlanEntry]) -> None:
    """Fill some entries of one module, at a time of its own: no other rank is waited for."""
    for entry in entries:
        if not entry.keeps and has_no_memory(live, entry):
            message = f"`{entry.label}` is on the meta device and has no memory"
            hint = "call `module.to_empty(device=..., recurse=False)` first, or make the function with `device=`"
            raise ResolveError(Diagnostic("meta-device", message, hint=hint))
    run = replace(run_of(plan, live, on_init), emptied=True)
    ways = whole_ways(run)
    if any(is_sharded(live.tensors[entry.tensor.index]) for entry in entries):
        refuse_unknown(view_of(plan, live), entries)
        ways = shard_ways(run)
    call = replace(run, plan=replace(plan, order=tuple(entries), ties=(), expected=()))
    with streams.team(), uncached(live):
        steps = [*_steps(run, ways, index, entries), *last_steps(call, ways)]
        carry_out(steps, partial(claims_of, run, ties=False))


def _steps(run: Run, ways: Ways, index: int, entries: list[PlanEntry]) -> list[Step]:
    """Return the steps that fill some entries of one module: its defaults first, then the entries."""
    steps: list[Step] = []
    by_default = {e.tensor.index for e in entries if e.base is not None and isinstance(e.base.payload, Reset)}
    for module, tensors in run.plan.resets:  # in the order of `net.apply`: what is above comes later
        own = tuple(tensor for tensor in tensors if tensor in by_default)
        if own and module == index:
            steps.append(reset_step(run, ways, module, own))
        elif own:  # that of a module above (nn.MultiheadAttention's of its out_proj)
            steps.append(Step(partial(ways.reset_beside, module, own), True, partial(save_tensors, run, own)))
    if steps:
        steps.append(left_step(run, entries))
    return [*steps, *(entry_step(run, ways, entry) for entry in entries)]


def _allocate(plan: Plan, live: Live, index: int, device: torch.device) -> None:
    """Give a module's own tensors that have none memory, ties kept."""
    module = live.modules[index]
    for local, tensor in plan.network.modules[index].parameters.items():
        parameter = held_by(module, local)
        if parameter is not None and parameter.is_meta:
            live.tensors[tensor] = parameter
            give_memory(plan.network, live, tensor, device)
    fresh = {name: buffer for name, buffer in module._buffers.items() if buffer is not None and buffer.is_meta}
    for name, buffer in fresh.items():
        module._buffers[name] = torch.empty_like(buffer, device=device)
    if fresh and hasattr(module, "reset_running_stats"):
        module.reset_running_stats()  # type: ignore[operator]


def _address(tensor: torch.Tensor | None) -> int:
    """Return where a tensor's values are: another number after `to_empty` gave it other memory."""
    if tensor is None or tensor.is_meta:
        return 0
    local = getattr(tensor, "_local_tensor", tensor)
    return int(local.data_ptr())
