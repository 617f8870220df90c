"""Where the values of a model without memory come from: a box at a time, or one whole tensor after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import nn

from initdsl.filling.blame import blaming
from initdsl.filling.box_fill import fill_box
from initdsl.filling.boxes import Box
from initdsl.filling.execute import execute
from initdsl.filling.meta.allocate import put
from initdsl.filling.meta.construct import like
from initdsl.filling.refusals import refuse_no_sample
from initdsl.filling.run import Run, run_of
from initdsl.initializers import Constant, Random
from initdsl.network.description import Live, Network
from initdsl.network.wrappers import unwrap
from initdsl.planning.actions import Kept, Reset, Value
from initdsl.planning.locality import Locality, locality_of
from initdsl.planning.plan import Plan, PlanEntry
from initdsl.text.diagnostic import Diagnostic, ResolveError
from initdsl.text.wording import listed

__all__ = ["Held", "TensorSource", "box_filler", "release", "source_of", "state_of", "whole", "whole_tensors"]


# ---- what is written


def state_of(plan: Plan, live: Live, net: nn.Module) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Return the tensors of the model's state dict by their first names, and which the further names stand for."""
    indices = {id(tensor): number for number, tensor in enumerate(live.tensors) if tensor is not None}
    firsts: dict[int, str] = {}
    state: dict[str, torch.Tensor] = {}
    others: dict[str, str] = {}
    for name, tensor in unwrap(net).state_dict(keep_vars=True).items():
        if not isinstance(tensor, torch.Tensor) or tensor.layout != torch.strided or hasattr(tensor, "placements"):
            what = type(tensor).__name__ if not isinstance(tensor, torch.Tensor) else "sparse or sharded"
            message = f"`{name}` is {what}; it can't be streamed to files"
            raise ResolveError(Diagnostic("not-stored", message))
        number = indices.get(id(tensor))
        one = id(tensor) if number is None else plan.tied_to.get(number, number)
        first = firsts.setdefault(one, name)
        if first == name:
            state[name] = tensor
        else:
            others[name] = first
    return state, others


def whole_tensors(source: TensorSource, *, through_views: bool = False) -> Iterator[Diagnostic]:
    """Yield a note on the tensors that are held in memory as a whole, if there are any; those `through_views` too, if so."""
    grids = source.grids
    entries = [
        e
        for e in source.plan.entries
        if not e.keeps and (grids.get(e.tensor.index) is None or (through_views and grids[e.tensor.index] != e.shape))
    ]
    if entries:
        largest = max(entries, key=lambda entry: entry.numel)
        count = f"{len(entries)} tensor{'s' * (len(entries) > 1)}"
        are = "are" if len(entries) > 1 else "is"
        yield Diagnostic(
            "whole-tensor",
            f"{count} can't be filled in parts and {are} held in memory, one rule or module at a time: "
            f"{listed([entry.label for entry in entries])}; the largest is `{largest.label}` {list(largest.shape)}",
            severity="note",
        )


@dataclass(frozen=True, eq=False)
class TensorSource:
    """Where the values of a model's tensors come from, by their names in its `state`.

    `numbers` has the number of the tensor that a name stands for, and `entries` by that number what is done to it.
    `groups` are the tensors, by number, that are made together with one: a computed weight, what it is computed from and
    what follows it. `grids` has the shape in which an entry can be filled box by box, by number; None if it can't be.
    What is `taken` has its values, and is not made.
    """

    plan: Plan
    live: Live
    state: Mapping[str, torch.Tensor]
    numbers: Mapping[str, int]
    entries: Mapping[int, PlanEntry]
    groups: Mapping[int, frozenset[int]]
    grids: Mapping[int, tuple[int, ...] | None]
    taken: frozenset[int] = frozenset()

    def entry(self, name: str) -> PlanEntry | None:
        """Return what is done to a tensor, if anything is."""
        entry = self.entries.get(self.numbers.get(name, -1))
        return None if entry is None or entry.keeps else entry

    def has_values(self, number: int) -> bool:
        """Return whether a tensor has the values it ends with."""
        return number in self.taken or _has_values(self.live, self.entries, number)

    def with_tensor(self, name: str, number: int) -> TensorSource:
        """Return the source with a further tensor of the model, of this name and number."""
        tensor = self.live.tensors[number]
        assert tensor is not None
        return replace(self, state={**self.state, name: tensor}, numbers={**self.numbers, name: number})


def source_of(
    plan: Plan, live: Live, state: Mapping[str, torch.Tensor], taken: frozenset[int] = frozenset()
) -> TensorSource:
    """Return the source of the tensors of `state`. Raises ResolveError for those that nothing gives values."""
    assert plan.seed is not None
    refuse_no_sample(plan)
    entries = {entry.tensor.index: entry for entry in plan.entries}
    indices = {id(tensor): number for number, tensor in enumerate(live.tensors) if tensor is not None}
    numbers = {name: plan.tied_to.get(indices[id(t)], indices[id(t)]) for name, t in state.items() if id(t) in indices}
    groups = _groups(plan.network, entries)
    filled = {number for number, entry in entries.items() if not entry.keeps} | set(groups)
    missing = [name for name, tensor in state.items() if tensor.is_meta and numbers.get(name, -1) not in filled]
    if missing:
        message = f"these tensors are on the meta device and no rule sets them: {listed(missing, 12)}"
        hint = "give the function that builds the model in place of the model, or rules for them"
        raise ResolveError(Diagnostic("needs-values", message, hint=hint))
    source = TensorSource(plan, live, state, numbers, entries, groups, {}, taken)
    return replace(source, grids=_grids(source))


def _has_values(live: Live, entries: Mapping[int, PlanEntry], number: int) -> bool:
    tensor, entry = live.tensors[number], entries.get(number)
    return tensor is not None and not tensor.is_meta and (entry is None or entry.keeps)


def _groups(network: Network, entries: Mapping[int, PlanEntry]) -> dict[int, frozenset[int]]:
    """Return the tensors that a computed weight is computed from, or that follow it: by the number of each of them."""
    groups: dict[int, frozenset[int]] = {}
    for info in network.tensors:
        if info.kind != "parametrized":
            continue
        below = [network.modules[i] for i in network.reachable(info.owners[0][0])]
        group = frozenset(i for m in below for i in (*m.parameters.values(), *m.buffers.values())) | {info.index}
        if any(i in entries and not entries[i].keeps for i in group):
            for member in group:
                groups[member] = groups.get(member, frozenset()) | group
    return groups


# ---- in boxes


# by the number of an entry's tensor, the shape in which it can be filled box by box; None if it can't be
Grids = dict[int, tuple[int, ...] | None]


def _grids(source: TensorSource) -> Grids:
    grids: Grids = {}
    for number in source.entries:
        _grid(source, number, grids)
    return grids


def _grid(source: TensorSource, number: int, grids: Grids) -> tuple[int, ...] | None:
    """Return the shape in which an entry can be filled box by box, None if it can't be; note it in `grids`."""
    if number not in grids:
        grids[number] = _new_grid(source, source.entries[number], grids)
    return grids[number]


def _new_grid(source: TensorSource, entry: PlanEntry, grids: Grids) -> tuple[int, ...] | None:
    views = {action.view for action in entry.actions if action.view is not None}
    if entry.tensor.index in source.groups or len(views) > 1 or (entry.base is None and entry.status != "set"):
        return None

    def shares(number: int) -> bool:
        if number in source.groups or source.plan.network.tensors[number].shape != entry.shape:
            return False
        return source.has_values(number) or (number in source.entries and _grid(source, number, grids) == entry.shape)

    for action in entry.actions:
        draws = isinstance(action.payload, Constant | Random)
        if isinstance(action.payload, Kept | Reset) or (draws and action.operator not in ("=", "~")):
            return None
        # the boxes are the view's, which only numbers don't mind
        numbers = draws or isinstance(action.payload, Value)
        if views and action.view is None and (action.index is not None or not numbers):
            return None
        if locality_of(source.plan, entry, action, shares, of_view=True) != Locality.ELEMENT:
            return None
    return None if entry.tensor.kind == "parametrized" else next(iter(views), None) or entry.shape


# fills a box of a tensor of a shape, its extents along each dimension, in memory of the box's shape
FillBox = Callable[[PlanEntry, tuple[int, ...], Sequence[range], torch.Tensor], None]


def box_filler(source: TensorSource) -> FillBox:
    """Return what fills boxes in one thread; it raises StepFailed.

    What an entry reads is made for the same box, and for no more.
    """
    return partial(_fill_box, run_of(source.plan, source.live, fresh=True), source)


def _fill_box(
    run: Run,
    source: TensorSource,
    entry: PlanEntry,
    shape: tuple[int, ...],
    extents: Sequence[range],
    memory: torch.Tensor,
) -> None:
    with torch.no_grad():
        _carry_out(run, source, entry, shape, Box(memory, tuple(extent.start for extent in extents)), {})


def _carry_out(
    run: Run, source: TensorSource, entry: PlanEntry, shape: tuple[int, ...], box: Box, read: dict[int, torch.Tensor]
) -> None:
    """Fill a box of an entry's tensor; `read` has, by number, what was made of other tensors for the same box."""
    # no closures that hold one another: what they hold would stay until Python looks for cycles
    share = partial(_share, run, source, read)
    for action in entry.actions:
        with blaming(run.plan, entry, action):
            fill_box(run, entry, action, box, shape, share)


def _share(run: Run, source: TensorSource, read: dict[int, torch.Tensor], number: int, box: Box) -> torch.Tensor:
    """Return the values of another tensor where a box lies."""
    tensor = source.live.tensors[number]
    assert tensor is not None
    if source.has_values(number):
        return tensor.detach()[box.index]
    if number not in read:
        values = torch.empty(box.memory.shape, dtype=tensor.dtype)
        entry = source.entries[number]
        _carry_out(run, source, entry, entry.shape, Box(values, box.starts), read)
        read[number] = values
    return read[number]


# ---- whole


class Held:
    """The tensors of a source, by number, that are in memory now, and how the model gets back the ones it had.

    The only thing about a source that changes; who asks for whole tensors keeps it and calls `release`.
    """

    def __init__(self) -> None:
        self.tensors: frozenset[int] = frozenset()
        self.undo: list[Callable[[], None]] = []


def release(held: Held) -> None:
    """Give up what is held; the model is as it was."""
    while held.undo:
        held.undo.pop()()
    held.tensors = frozenset()


def whole(source: TensorSource, held: Held, name: str) -> torch.Tensor:
    """Return a tensor in memory, with its values; it stays until another one is asked for. Raises ApplyError."""
    number = source.numbers.get(name, -1)
    if source.entry(name) is None and number not in source.groups:
        return source.state[name].detach()
    if number not in held.tensors:
        release(held)
        _make(source, held, _made_with(source, number))
    tensor = source.live.tensors[number]
    assert tensor is not None
    return tensor.detach()


def _made_with(source: TensorSource, number: int) -> frozenset[int]:
    """Return a tensor and all that has to be made for it, by number."""
    plan, entries = source.plan, source.entries
    resets = {tensor: tensors for _, tensors in plan.resets for tensor in tensors}
    wanted: set[int] = set()
    stack = [number]
    while stack:
        current = stack.pop()
        current = plan.tied_to.get(current, current)
        if current in wanted:
            continue
        wanted.add(current)
        stack += [*source.groups.get(current, ()), *resets.get(current, ())]
        for action in entries[current].actions if current in entries else ():
            stack += action.reads
    return frozenset(wanted - (source.taken - {number}))


def _make(source: TensorSource, held: Held, wanted: frozenset[int]) -> None:
    """Fill some tensors, and no others, in memory of their own."""
    plan = source.plan
    held.tensors = wanted
    for number in sorted(wanted):
        _allocate(source, held, number)
    resets = [
        (m, tuple(t for t in tensors if t in wanted)) for m, tensors in plan.resets if wanted.intersection(tensors)
    ]
    order = tuple(entry for entry in plan.order if entry.tensor.index in wanted)
    execute(replace(plan, order=order, resets=tuple(resets), ties=(), expected=()), source.live, fresh=True)


def _allocate(source: TensorSource, held: Held, number: int) -> None:
    """Put memory in place of a tensor that has none, or is the caller's."""
    old = source.live.tensors[number]
    if old is None:
        return
    values = torch.empty_strided(old.size(), old.stride(), dtype=old.dtype)
    if not old.is_meta:
        values.copy_(old.detach())
    new = like(old, values) if isinstance(old, nn.Parameter) else values
    put(source.plan.network, source.live, number, new)
    held.undo.append(partial(put, source.plan.network, source.live, number, old))
