"""Models spread over ranks: each fills the part it holds, from its elements' places in the whole.

The fill itself communicates nothing. One small exchange comes before it (see `agreement`): whether rules, seed and model
are the same on every rank and whether all of them could plan, so that either all ranks fill or all of them raise. Where a
step of the plan can still fail, another one comes after it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from initdsl.filling.blame import StepFailed, blaming, rule_diagnostic
from initdsl.filling.box_fill import Viewed, fill_box, selected, viewed
from initdsl.filling.boxes import Box, Window, memory_of
from initdsl.filling.defaults import reset_beside, reset_module, reset_stand_ins
from initdsl.filling.run import Run, read_whole, tell
from initdsl.filling.steps import Ways
from initdsl.filling.unset import mark
from initdsl.filling.whole_fill import fill_whole, write_actions
from initdsl.filling.write import Piece, draw_distribution, edited, work_dtype, write
from initdsl.initializers import Random
from initdsl.language.expressions.shapes import row_major
from initdsl.network.kinds import is_sharded
from initdsl.planning.actions import EDITS, Action, CopyFrom, Draw, Expression, Kept, Reset
from initdsl.planning.locality import Locality
from initdsl.planning.plan import PlanEntry
from initdsl.text.diagnostic import Diagnostic

from .placements import boxes_of
from .review import ShardView, scope_here, view_of

__all__ = ["shard_ways"]


@dataclass(frozen=True, eq=False)
class ShardRun:
    """A run over a model of which this rank holds parts, and the rank's view of its plan."""

    run: Run
    view: ShardView

    def tensor(self, index: int) -> torch.Tensor:
        """Return a tensor, by its number, of which there is an object."""
        tensor = self.run.live.tensors[index]
        assert tensor is not None
        return tensor


def shard_ways(run: Run) -> Ways:
    """Return how a run writes to a model of which this rank holds parts."""
    shards = ShardRun(run, view_of(run.plan, run.live))

    def beside(index: int, tensors: tuple[int, ...]) -> None:
        _reset_beside(shards, index, tensors)

    return Ways(
        lambda entry: _fill(shards, entry),
        lambda index, tensors: reset_module(run, index, tensors, beside),
        beside,
        lambda tensor: _read(shards, tensor),
    )


def _read(shards: ShardRun, tensor: int) -> torch.Tensor:
    """Return the values of a tensor, all of them: those of a sharded one are made anew from the rules."""
    live = shards.run.live
    if tensor in live.elsewhere or is_sharded(live.tensors[tensor]):
        return _whole(shards, shards.view.entries[tensor])
    return read_whole(shards.run, tensor)


def _share(shards: ShardRun, tensor: int, box: Box) -> torch.Tensor:
    """Return the values of another tensor where a box lies."""
    if is_sharded(shards.run.live.tensors[tensor]):
        return next(other.memory for other in boxes_of(shards.tensor(tensor)) if other.starts == box.starts)
    return read_whole(shards.run, tensor)[box.index]


# ---- box by box


def _fill(shards: ShardRun, entry: PlanEntry) -> None:
    """Fill this rank's part of an entry's tensor, and tell `on_init`. Raises StepFailed."""
    run = shards.run
    if not is_sharded(run.live.tensors[entry.tensor.index]):
        fill_whole(run, entry, lambda tensor: _read(shards, tensor))
        return
    if not entry.keeps:
        _fill_boxes(shards, entry)
    tell(run, entry)


def _fill_boxes(shards: ShardRun, entry: PlanEntry) -> None:
    """Fill this rank's boxes of a tensor, each action by as much of the whole as it has to see."""
    actions = [action for action in entry.actions if not isinstance(action.payload, Kept | Reset)]
    scopes = [scope_here(shards.view, entry, action) for action in actions]
    if Locality.TENSOR in scopes:
        _keep(shards, entry.tensor.index, _whole(shards, entry))
        return
    for action, needed in zip(actions, scopes, strict=True):
        with blaming(shards.run.plan, entry, action):
            values = _whole_piece(shards, entry, action) if needed == Locality.PIECE else None
            for box in boxes_of(shards.tensor(entry.tensor.index)):
                _act_on_box(shards, entry, action, box, values)


def _act_on_box(shards: ShardRun, entry: PlanEntry, action: Action, box: Box, values: torch.Tensor | None) -> None:
    """Carry an action out on a box; `values` are those of its whole piece, where it takes them all."""
    if action.view is not None:
        for part in viewed(box, entry.shape, action):
            if values is not None:
                _write_viewed_values(shards, entry, action, part, values)
            elif isinstance(action.payload, Random):
                _draw_viewed(shards, entry, action, part, action.payload)
            else:
                _write_viewed_number(shards, entry, action, part)
    elif values is None:
        fill_box(shards.run, entry, action, box, entry.shape, lambda tensor, other: _share(shards, tensor, other))
    elif (selection := selected(box, action.index, entry.shape)) is not None:
        memory, window = selection
        _write_values(shards, _piece(shards, entry, action, memory), values[window.index])


def _write_viewed_values(
    shards: ShardRun, entry: PlanEntry, action: Action, part: Viewed, values: torch.Tensor
) -> None:
    memory = part.box.memory
    assert part.mask is not None
    mask = part.mask.to(memory.device)
    elements = memory[mask]
    places = tuple(coordinates.to(values.device) for coordinates in part.coordinates)
    _write_values(shards, _piece(shards, entry, action, elements), values[places])
    memory[mask] = elements


def _draw_viewed(shards: ShardRun, entry: PlanEntry, action: Action, part: Viewed, distribution: Random) -> None:
    memory, strides = part.box.memory, row_major(entry.shape)
    # a view counts the elements as the whole does
    offset = sum(start * stride for start, stride in zip(part.box.starts, strides, strict=True))
    piece = _piece(shards, entry, action, memory, Window(offset, strides, ()))
    if part.mask is None:
        draw_distribution(shards.run, piece, memory, distribution)
        return
    drawn = torch.empty_like(memory)
    draw_distribution(shards.run, piece, drawn, distribution)
    memory.copy_(torch.where(part.mask.to(memory.device), drawn, memory))


def _write_viewed_number(shards: ShardRun, entry: PlanEntry, action: Action, part: Viewed) -> None:
    memory = part.box.memory
    if part.mask is None:
        write(shards.run, _piece(shards, entry, action, memory))
        return
    mask = part.mask.to(memory.device)
    elements = memory[mask]
    write(shards.run, _piece(shards, entry, action, elements))
    memory[mask] = elements


def _piece(
    shards: ShardRun, entry: PlanEntry, action: Action, memory: torch.Tensor, window: Window | None = None
) -> Piece:
    return Piece(entry, action, memory, memory, lambda tensor: _read(shards, tensor), window)


def _write_values(shards: ShardRun, piece: Piece, values: torch.Tensor) -> None:
    """Set a piece to values, or edit it by them."""
    payload = piece.action.payload
    if piece.action.operator in EDITS:
        values = edited(shards.run, piece, values, finite=isinstance(payload, Expression) and payload.finite)
    piece.memory.copy_(values)


# ---- more than a part


def _whole_piece(shards: ShardRun, entry: PlanEntry, action: Action) -> torch.Tensor:
    """Return the values of all that an action writes; those of an edit before they meet what is there."""
    tensor, payload = shards.tensor(entry.tensor.index), action.payload
    if isinstance(payload, CopyFrom):
        return _read(shards, payload.tensor)
    edits = action.operator in EDITS
    values = torch.zeros(action.shape, dtype=work_dtype(tensor) if edits else tensor.dtype, device=tensor.device)
    if edits and isinstance(payload, Expression):
        action = replace(action, operator="=", payload=replace(payload, finite=False))
    write(shards.run, _piece(shards, entry, action, values))
    return values


def _whole(shards: ShardRun, entry: PlanEntry) -> torch.Tensor:
    """Return in full the values of a sharded tensor, or of one of another stage, made anew from the rules."""
    plan = shards.run.plan
    full = torch.zeros(entry.shape, dtype=getattr(torch, entry.dtype), device=_device(shards, entry.tensor.index))
    mark(full)  # what a function takes from the values that were there shows
    if entry.base is not None and isinstance(entry.base.payload, Reset):
        index = entry.base.payload.module
        values = _reset_values(shards, index, dict(plan.resets)[index]).get(entry.tensor.index)
        if values is not None:
            full.copy_(values)
    write_actions(shards.run, entry, full, lambda other: _read(shards, other))
    for action in entry.actions:
        payload = action.payload
        if isinstance(payload, Draw) and not payload.initializer.builtin and bool(full.isnan().any()):
            message = f"`{payload.initializer.name}` leaves or takes values of `{entry.label}` that other ranks hold"
            hint = "set the parameter as a whole first, or apply these rules before sharding"
            raise StepFailed(rule_diagnostic(plan, action, "fill-failed", message, hint), ValueError(message))
    return full


def _device(shards: ShardRun, index: int) -> torch.device:
    """Return the device of a tensor, of one that is elsewhere that of the first which is here."""
    live = shards.run.live
    tensors = (tensor for tensor in (live.tensors[index], *live.tensors) if tensor is not None)
    return next(tensors, torch.empty(0)).device


def _keep(shards: ShardRun, index: int, full: torch.Tensor) -> None:
    """Write this rank's part of a tensor's values."""
    for box in boxes_of(shards.tensor(index)):
        box.memory.copy_(full[box.index])


# ---- defaults


def _reset_beside(shards: ShardRun, index: int, tensors: tuple[int, ...]) -> None:
    """Give tensors what a module's own reset gives plain stand-ins for all of its parameters, of a shard its part."""
    if not any(is_sharded(shards.run.live.tensors[tensor]) for tensor in tensors):
        reset_beside(shards.run, index, tensors)
        return
    for tensor, values in _reset_values(shards, index, tensors).items():
        if is_sharded(shards.run.live.tensors[tensor]):
            _keep(shards, tensor, values)
        else:
            memory_of(shards.tensor(tensor)).copy_(values)


def _reset_values(shards: ShardRun, index: int, tensors: tuple[int, ...]) -> dict[int, torch.Tensor]:
    """Return what a module's own reset gives tensors, by number, run on stand-ins; what it leaves alone is not there."""
    run, network = shards.run, shards.run.plan.network
    info = network.modules[index]
    values = {}
    for number, stand_in in reset_stand_ins(run, index, tensors).items():
        values[number] = stand_in
        if is_sharded(run.live.tensors[number]) and bool(stand_in.isnan().any()):
            name = network.label(network.tensors[number])
            message = f"`{info.cls.name}.{info.reset}` builds on values of `{name}` that other ranks hold"
            hint = "apply these rules before sharding"
            raise StepFailed(Diagnostic("fill-failed", message, hint=hint), ValueError(message))
    return values
