"""Rules as a function of one module: what `net.apply`, FSDP's `param_init_fn` and trainers of that kind call.

The plan is made once, for the whole network. Each call fills the tensors that a module holds by then: they may have
become other objects (`to_empty`), shards, or have come from the meta device.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

from initdsl.filling.execute import Execution
from initdsl.filling.run import Step, has_no_memory
from initdsl.filling.sharded.review import review
from initdsl.language.rules.loader import Rules
from initdsl.network.description import Live
from initdsl.network.kinds import is_sharded
from initdsl.network.wrappers import unwrap
from initdsl.planning.actions import Reset, read_by
from initdsl.planning.make import make_plan_of, warn_of
from initdsl.planning.plan import Plan, PlanEntry
from initdsl.text.diagnostic import Diagnostic, ResolveError
from initdsl.text.wording import listed

from .allocate import give_memory
from .with_defaults import with_defaults

__all__ = ["InitFn", "as_init_fn"]


def as_init_fn(
    net: nn.Module, rules: Rules, *, device: torch.device | str | int | None = None,
    on_init: Callable[[PlanEntry], Any] | None = None, **options: Any,
) -> InitFn:  # fmt: skip
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
    """Fills a module's own parameters by a plan for the network it is part of; see `RuleSet.as_init_fn`.

    `plan` says what will be done to each, `unfilled` what no call has reached so far.
    """

    def __init__(self, plan: Plan, live: Live, device: torch.device | None, on_init: Callable[[PlanEntry], Any] | None):
        self.plan = plan
        self._device = device
        self._on_init = on_init
        self._live = live
        self._modules = {id(module): index for index, module in enumerate(live.modules)}
        self._resets = dict(plan.resets)
        self._entries: dict[int, list[PlanEntry]] = {}
        for entry in plan.order:
            for owner in dict.fromkeys(owner for owner, _ in self._places(entry)):
                self._entries.setdefault(owner, []).append(entry)
        # by entry: the tensor that was filled last, where its memory was, and whose call it was
        self._filled: dict[int, tuple[torch.Tensor | None, int, int]] = {}
        problems = [*self._foreign(), *self._twice(), *self._without_values()]
        if problems:
            raise ResolveError(problems)

    @property
    def unfilled(self) -> list[str]:
        """What rules set and no call has reached yet."""
        return [e.label for e in self.plan.order if e.tensor.index not in self._filled]

    def _places(self, entry: PlanEntry) -> list[tuple[int, str]]:
        """Where a tensor is held: by `(module, local name)`, those that rules tie to it included."""
        tensors = self.plan.network.tensors
        joined = [i for i, canonical in self.plan.tied_to.items() if canonical == entry.tensor.index]
        return [place for i in dict.fromkeys([entry.tensor.index, *joined]) for place in tensors[i].owners]

    # ---- what a function of one module can't do

    def _foreign(self) -> list[Diagnostic]:
        """Rules that need the values of another module's parameters."""
        found: dict[int, Diagnostic] = {}
        tensors = self.plan.network.tensors
        for entry in self.plan.order:
            mine = {owner for owner, _ in self._places(entry)}
            for action in entry.actions:
                other = [t for t in read_by(action) if not mine & {owner for owner, _ in tensors[t].owners}]
                if other:
                    rule = action.clause.rule
                    found.setdefault(action.clause.number, Diagnostic(
                        "reads-another-module",
                        f"`{entry.label}` is made from `{self.plan.network.label(tensors[other[0]])}`, and a function "
                        "of one module sees only that module's parameters",
                        self.plan.rules.source(rule.source), rule.span, "fill the network with `initdsl.apply`",
                    ))  # fmt: skip
            if entry.base is not None and isinstance(entry.base.payload, Reset):
                above = [i for i, t in self._resets.items() if entry.tensor.index in t and i not in mine]
                above = [i for i in above if not self.plan.network.modules[i].parameters]
                if above:
                    module = self.plan.network.modules[above[0]]
                    found.setdefault(entry.base.clause.number, Diagnostic(
                        "reads-another-module",
                        f"the default of `{entry.label}` is given by `{module.cls.name}.{module.reset}`, which acts on "
                        "the modules below it",
                        hint="give it a rule, or fill the network with `initdsl.apply`",
                    ))  # fmt: skip
        return list(found.values())

    def _twice(self) -> list[Diagnostic]:
        """Edits of what is there, of a module that `net.apply` visits more than once."""
        modules = self.plan.network.modules
        for entry in self.plan.order:
            shared = [o for o, _ in entry.tensor.owners if any(len(modules[i].parents) > 1 for i in self._above(o))]
            if entry.base is None and shared:
                clause = entry.edits[0].clause
                return [Diagnostic(
                    "edited-twice", f"`{entry.label}` belongs to a shared module, which is visited once for each of its "
                    "names: each visit would edit it again", self.plan.rules.source(clause.rule.source),
                    clause.rule.span, "set it before it is edited, or fill the network with `initdsl.apply`",
                )]  # fmt: skip
        return []

    def _above(self, module: int) -> set[int]:
        found, stack = set(), [module]
        while stack:
            current = stack.pop()
            if current not in found:
                found.add(current)
                stack += [parent for parent, _ in self.plan.network.modules[current].parents]
        return found

    def _without_values(self) -> list[Diagnostic]:
        """Buffers that would get memory and no values."""
        if self._device is None:
            return []
        set_by_rules = {e.tensor.index for e in self.plan.order}
        left = [
            self.plan.network.label(tensor)
            for tensor in self.plan.network.tensors
            if tensor.kind == "buffer" and tensor.device == "meta" and tensor.index not in set_by_rules
            and not all(hasattr(self._live.modules[o], "reset_running_stats") for o, _ in tensor.owners)
        ]  # fmt: skip
        if not left:
            return []
        hint = "give them rules, or build the network under `initdsl.materialize`, which computes buffers"
        return [
            Diagnostic("needs-values", f"no rule sets these buffers on the meta device: {listed(left, 12)}", hint=hint)
        ]

    # ---- one module

    def __call__(self, module: nn.Module) -> None:
        """Fill the module's own parameters. Raises ApplyError where a fill failed: then the module is as it was."""
        index = self._modules.get(id(module))
        if index is None:
            index = self._modules.get(id(unwrap(module)), -1)
            own = [name for name, _ in module.named_parameters(recurse=False)]
            if index == -1 and own:
                raise ResolveError(Diagnostic(
                    "unknown-module", f"this `{type(module).__name__}`, with {listed(own)}, is no part of the network "
                    "that the function was made for", hint="make it from the network that is filled",
                ))  # fmt: skip
            return  # a wrapper: what it wraps is visited too
        if self._device is not None:
            self._allocate(index)
        entries = [e for e in self._entries.get(index, ()) if self._settle(e, index)]
        if not entries:
            return
        self._refuse_meta(entries)
        execution = Execution(self.plan, self._live, self._on_init)
        if any(is_sharded(self._live.tensors[entry.tensor.index]) for entry in entries):
            from initdsl.filling.sharded.fill import LoneExecution

            execution = LoneExecution(self.plan, self._live, self._on_init, entries)
        execution.take(self._steps(execution, index, entries), ties=False)
        for entry in entries:
            tensor = self._live.tensors[entry.tensor.index]
            self._filled[entry.tensor.index] = (tensor, _memory(tensor), index)

    def _steps(self, execution: Execution, index: int, entries: list[PlanEntry]) -> list[Step]:
        steps: list[Step] = []
        default = {e.tensor.index: e for e in entries if e.base is not None and isinstance(e.base.payload, Reset)}
        if default:
            for module, tensors in self._resets.items():  # in the order of `net.apply`: what is above comes later
                mine = tuple(t for t in tensors if t in default)
                if mine and module == index:
                    steps.append(execution.reset_step(module, mine))
                elif mine:  # that of a module above (nn.MultiheadAttention's of its out_proj)
                    touched = [t for t in map(self._live.tensors.__getitem__, mine) if t is not None]
                    steps.append((partial(execution.reset_beside, module, mine), True, lambda t=touched: t))  # type: ignore[misc]
        return [*steps, *(execution.entry_step(entry) for entry in entries)]

    def _settle(self, entry: PlanEntry, index: int) -> bool:
        """Bring the plan up to the objects that are there now, ties kept; whether the tensor is this call's to fill."""
        if entry.tensor.kind == "parametrized":
            return True
        places = self._places(entry)
        now = {place: _held(self._live.modules[place[0]], place[1]) for place in places}
        current = next(t for (owner, _), t in now.items() if owner == index and t is not None)
        known = self._filled.get(entry.tensor.index)
        others = [t for (owner, _), t in now.items() if owner != index and t is not None]
        if known is not None and known[0] is not current and any(t is known[0] for t in others):
            assert known[0] is not None
            for (owner, local), held in now.items():  # `to_empty` made two of one, or rules tie them
                if owner == index and held is not None:
                    setattr(self._live.modules[owner], local, known[0])
            current = known[0]
        self._live.tensors[entry.tensor.index] = current
        mine = known is None or known[2] == index
        return mine or known[0] is not current or known[1] != _memory(current)  # type: ignore[index]

    def _refuse_meta(self, entries: list[PlanEntry]) -> None:
        for entry in entries:
            if entry.status in ("kept", "uncovered"):
                continue
            if has_no_memory(self._live, entry):
                raise ResolveError(Diagnostic(
                    "meta-device", f"`{entry.label}` is on the meta device and has no memory",
                    hint="call `module.to_empty(device=..., recurse=False)` first, or make the function with `device=`",
                ))  # fmt: skip

    def _allocate(self, index: int) -> None:
        """Memory for a module's own tensors that have none, ties kept."""
        assert self._device is not None
        module = self._live.modules[index]
        info = self.plan.network.modules[index]
        for local, tensor in info.parameters.items():
            held = _held(module, local)
            if held is not None and held.is_meta:
                self._live.tensors[tensor] = held
                give_memory(self.plan.network, self._live, tensor, self._device)
        fresh = {name: buffer for name, buffer in module._buffers.items() if buffer is not None and buffer.is_meta}
        for name, buffer in fresh.items():
            module._buffers[name] = torch.empty_like(buffer, device=self._device)
        if fresh and hasattr(module, "reset_running_stats"):
            module.reset_running_stats()  # type: ignore[operator]


def _held(module: nn.Module, local: str) -> torch.Tensor | None:
    found = module._parameters.get(local)
    return found if found is not None else module._buffers.get(local)


def _memory(tensor: torch.Tensor | None) -> int:
    """Where a tensor's values are: another number after `to_empty` gave it other memory."""
    if tensor is None or tensor.is_meta:
        return 0
    local = getattr(tensor, "_local_tensor", tensor)
    return int(local.data_ptr())
