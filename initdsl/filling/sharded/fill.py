"""Networks spread over ranks: each fills the part it holds, from its elements' places in the whole.

The fill itself communicates nothing. One small exchange comes before it: whether rules, seed and network are the same
on every rank and whether all of them could plan, so that either all ranks fill or all of them raise. Where a step of
the plan can still fail, another one comes after it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from initdsl.filling.box_fill import PartExecution, selected, viewed
from initdsl.filling.boxes import Part, Place, boxes, memory_of
from initdsl.filling.run import StepFailed, refuse_meta
from initdsl.filling.stand_ins import shell_of
from initdsl.filling.write import Values
from initdsl.initializers import Constant, Random
from initdsl.language.expressions.operators import combine
from initdsl.network.description import Live
from initdsl.network.kinds import is_sharded
from initdsl.planning.actions import Action, CopyFrom, Draw, Expression, Kept, Load, Reset, Value
from initdsl.planning.locality import Scope
from initdsl.planning.plan import Plan, PlanEntry
from initdsl.text.diagnostic import Diagnostic, ResolveError

from .agreement import Record, exchange, failure_record, process_groups, record_of
from .placements import row_major_window, spans
from .review import ShardView

if TYPE_CHECKING:
    from initdsl.network.description import ModuleInfo

__all__ = ["LoneExecution", "ShardedExecution"]


# ---- filling


class ShardedExecution(PartExecution):
    """One run over a network of which this rank holds parts."""

    @cached_property
    def view(self) -> ShardView:
        return ShardView(self.plan, self.live)

    # ---- with the other ranks

    alone = False  # whether this rank fills without a word to the others

    def begin(self, last: int) -> int:
        if self.alone:
            return last
        groups = list(process_groups([t for t in self.live.tensors if t is not None]))
        try:
            refuse_meta(self.plan, self.live)
            mine = record_of(self.plan, self.live, last)
        except Exception as error:
            exchange(groups, failure_record(error))
            raise
        both = exchange(groups, mine)
        if (difference := both.difference()) is not None:
            raise ResolveError(difference)
        return both.last

    def settle(self, failure: BaseException | None) -> None:
        if self.alone:
            return
        groups = list(process_groups([t for t in self.live.tensors if t is not None]))
        try:
            difference = exchange(groups, Record() if failure is None else failure_record(failure)).difference()
        except ResolveError as lost:
            difference = lost.diagnostics[0]
        if failure is None and difference is not None:
            raise StepFailed(difference, RuntimeError(difference.message))

    # ---- by parts

    def _parts(self, index: int) -> list[Part]:
        tensor = self.live.tensors[index]
        assert tensor is not None
        memory = memory_of(tensor)
        return [] if memory.numel() == 0 else boxes(memory, spans(tensor))

    def _actions(self, entry: PlanEntry, tensor: torch.Tensor) -> None:
        if not is_sharded(tensor):
            super()._actions(entry, tensor)
            return
        actions = [a for a in entry.actions if not isinstance(a.payload, Kept | Reset)]
        scopes = [self.view.scope(entry, action) for action in actions]
        if Scope.TENSOR in scopes:
            full = self._whole(entry)
            self._keep(entry.tensor.index, full)
            return
        for action, needed in zip(actions, scopes, strict=True):
            with self.blaming(entry, action):
                values = self._piece(entry, action) if needed == Scope.PIECE else None
                for part in self._parts(entry.tensor.index):
                    self._act_on(entry, part, action, values)

    def _act_on(self, entry: PlanEntry, part: Part, action: Action, values: torch.Tensor | None) -> None:
        """Carry an action out on a box; `values` are those of its whole piece, where it takes them all."""
        if action.view is not None:
            self._act_on_view(entry, part, action, values)
            return
        if values is None:
            self.act_on(entry, part, entry.shape, action)
        elif (found := selected(part, action.index, entry.shape)) is not None:
            piece, place = found
            self._write(entry, piece, action, values[place.index])

    def _act_on_view(self, entry: PlanEntry, part: Part, action: Action, values: torch.Tensor | None) -> None:
        payload = action.payload
        for box, mask, coordinates in viewed(part, entry.shape, action):
            memory = box.memory
            here = None if mask is None else mask.to(memory.device)
            if values is not None:
                assert here is not None
                piece = memory[here]
                self._write(entry, piece, action, values[tuple(at.to(values.device) for at in coordinates)])
                memory[here] = piece
            elif isinstance(payload, Random):
                # a view counts the elements as the whole does
                place = Place(*row_major_window(box, entry.shape), ())
                drawn = memory if here is None else torch.empty_like(memory)
                self.distribute(entry, drawn, payload, action, place=place)
                if here is not None:
                    memory.copy_(torch.where(here, drawn, memory))
            else:
                piece = memory if here is None else memory[here]
                if isinstance(payload, Value):
                    self.assign(entry, piece, action, payload)
                else:
                    assert isinstance(payload, Constant)
                    piece.fill_(payload.value)
                if here is not None:
                    memory[here] = piece

    def _write(self, entry: PlanEntry, piece: torch.Tensor, action: Action, values: torch.Tensor) -> None:
        """Set a piece to values, or edit it by them."""
        if action.operator not in ("=", "~"):
            assert isinstance(action.payload, Expression)
            values = combine(action.clause.rule, action.operator[0], piece.to(values.dtype), values)
            if action.payload.finite:
                self._finite(entry, values.to(piece.dtype), action)
        piece.copy_(values)

    # ---- more than a part

    def _piece(self, entry: PlanEntry, action: Action) -> torch.Tensor:
        """The values of all that an action writes; those of an edit before they meet what is there."""
        tensor = self.live.tensors[entry.tensor.index]
        assert tensor is not None
        payload = action.payload
        if isinstance(payload, CopyFrom):
            return self.read(payload.tensor)
        edits = action.operator not in ("=", "~")
        work = torch.float64 if tensor.dtype == torch.float64 else torch.float32
        made = torch.zeros(action.shape, dtype=work if edits else tensor.dtype, device=tensor.device)
        if isinstance(payload, Draw):
            self.draw(entry, made, payload.initializer, payload.arguments, action)
        elif isinstance(payload, Load):
            made.copy_(self.reader.tensor(payload))
        else:
            assert isinstance(payload, Expression)
            if edits:
                payload = replace(payload, finite=False)
                action = replace(action, operator="=", payload=payload)
            self.express(entry, made, action, payload, Values(self, entry, action, made, made, work))
        return made

    def _whole(self, entry: PlanEntry) -> torch.Tensor:
        """A sharded tensor's values in full, made anew from the rules."""
        tensor = self.live.tensors[entry.tensor.index]
        assert tensor is not None
        full = torch.zeros(tensor.shape, dtype=tensor.dtype, device=tensor.device)
        if full.is_floating_point():
            full.fill_(math.nan)  # what a function takes from the values that were there shows
        base = entry.base
        if base is not None and isinstance(base.payload, Reset):
            index = base.payload.module
            owned = next(mine for module, mine in self.plan.resets if module == index)
            full.copy_(self._stand_ins(self.network.modules[index], owned)[entry.tensor.index])
        super()._actions(entry, full)
        custom = next(
            (a for a in entry.actions if isinstance(a.payload, Draw) and not a.payload.initializer.builtin), None
        )
        if custom is not None and bool(full.isnan().any()):
            what = (
                f"`{custom.payload.initializer.name}` leaves or takes values of `{entry.label}` that other ranks hold"  # type: ignore[union-attr]
            )
            hint = "set the parameter as a whole first, or apply these rules before sharding"
            raise StepFailed(self._diagnostic(custom, "fill-failed", what, hint), ValueError(what))
        return full

    def _keep(self, index: int, full: torch.Tensor) -> None:
        """Write this rank's part of a tensor's values."""
        for part in self._parts(index):
            part.memory.copy_(full[part.index])

    def read(self, tensor: int) -> torch.Tensor:
        """The values of a tensor, all of them."""
        if is_sharded(self.live.tensors[tensor]):
            return self._whole(self.view.entries[tensor])
        return super().read(tensor)

    def share(self, tensor: int, part: Part) -> torch.Tensor:
        """The values of another tensor where a part lies."""
        if is_sharded(self.live.tensors[tensor]):
            return next(p.memory for p in self._parts(tensor) if p.starts == part.starts)
        return super().read(tensor)[part.index]

    # ---- defaults

    def _stand_ins(self, info: ModuleInfo, mine: tuple[int, ...]) -> dict[int, torch.Tensor]:
        """What a module's own reset gives, by tensor: run on plain stand-ins. What it leaves alone is not there."""
        made: dict[int, nn.Parameter] = {}
        module = self.live.modules[info.index]
        assert self.seeded is not None
        with self.seeded.resetting(info.name):
            shell = shell_of(module, made)
            before = {key: stand_in._version for key, stand_in in made.items()}
            self._call_reset(info, shell)
        found = {}
        for index in mine:
            tensor = self.live.tensors[index]
            key = id(tensor)
            if tensor is None or key not in made or made[key]._version == before[key]:
                continue
            found[index] = made[key].detach()
            if is_sharded(tensor) and bool(found[index].isnan().any()):
                name = self.network.label(self.network.tensors[index])
                what = f"`{info.cls.name}.{info.reset}` builds on values of `{name}` that other ranks hold"
                raise StepFailed(
                    Diagnostic("fill-failed", what, hint="apply these rules before sharding"), ValueError(what)
                )
        return found

    def reset_beside(self, index: int, mine: tuple[int, ...]) -> None:
        if not any(is_sharded(self.live.tensors[t]) for t in mine):
            super().reset_beside(index, mine)
            return
        for tensor, values in self._stand_ins(self.network.modules[index], mine).items():
            if is_sharded(self.live.tensors[tensor]):
                self._keep(tensor, values)
            else:
                memory_of(self.live.tensors[tensor]).copy_(values)  # type: ignore[arg-type]


class LoneExecution(ShardedExecution):
    """One rank's fill of some entries, at a time of its own: a call of an init function."""

    alone = True

    def __init__(self, plan: Plan, live: Live, on_init: Callable[[PlanEntry], Any] | None, entries: list[PlanEntry]):
        super().__init__(plan, live, on_init)
        self.view.check(entries)
