"""Boxes of a tensor, filled without the rest of it: what a rank holds of a sharded tensor, a chunk on its way to disk.

An action that works element by element can be carried out on a box: the elements of a draw are addressed by their
place in the whole, and expressions are evaluated on the box's share of every tensor. `needs_whole` tells which can't.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import torch

from .executor import Values, failed
from .expressions import FANS, FUNCTIONS, EvalError, Shape, as_path, evaluate
from .initializers import Constant, Normal, TruncatedNormal, Uniform
from .names import Names
from .nodes import Call, ListNode, Subscript
from .plans import Action, CopyFrom, Draw, Expression, Kept, Load, PlanEntry, Reset, Value
from .seeded import nodes_of, row_major

if TYPE_CHECKING:
    from .executor import Execution
    from .plans import Plan

__all__ = ["Part", "Place", "boxes", "fill_part", "needs_whole", "runs"]


@dataclass(frozen=True)
class Part:
    """A box of a tensor: its memory, and the coordinates of its first element in the whole."""

    memory: torch.Tensor
    starts: tuple[int, ...]


@dataclass(frozen=True)
class Place:
    """Where a piece of a part lies: in the row-major numbering of the whole, and in the piece an action writes to.

    `spans` has, for each dimension, the coordinates within the action's piece.
    """

    offset: int
    strides: tuple[int, ...]
    spans: tuple[range, ...]


def runs(indices: Sequence[int] | torch.Tensor) -> list[tuple[int, int, int]]:
    """Rising indices as `(first index, first position, length)` of every run without a gap."""
    found: list[tuple[int, int, int]] = []
    for position, index in enumerate(indices.tolist() if isinstance(indices, torch.Tensor) else indices):
        if found and index == found[-1][0] + found[-1][2]:
            found[-1] = (found[-1][0], found[-1][1], found[-1][2] + 1)
        else:
            found.append((index, position, 1))
    return found


def boxes(memory: torch.Tensor, dims: Sequence[list[tuple[int, int, int]]]) -> list[Part]:
    """The parts of a memory whose dimensions hold runs of the whole's."""
    parts = []
    for combination in product(*dims):
        view = memory
        for d, (_, position, length) in enumerate(combination):
            view = view.narrow(d, position, length)
        parts.append(Part(view, tuple(first for first, _, _ in combination)))
    return parts


def selected(part: Part, action: Action, shape: tuple[int, ...]) -> tuple[torch.Tensor, Place] | None:
    """What of a part an action without a view writes to; `None` where it is nothing."""
    strides = row_major(shape)
    if action.index is None:
        offset = sum(s * stride for s, stride in zip(part.starts, strides, strict=True))
        spans = tuple(range(s, s + n) for s, n in zip(part.starts, part.memory.shape, strict=True))
        return part.memory, Place(offset, strides, spans)
    items = expanded(action.index, len(shape))
    local: list[Any] = []
    offset, steps, spans_ = 0, [], []
    for d, item in enumerate(items):
        start, size = part.starts[d], part.memory.shape[d]
        if not isinstance(item, slice):
            at = item % shape[d]
            if not start <= at < start + size:
                return None
            local.append(at - start)
            offset += at * strides[d]
            continue
        chosen = range(*item.indices(shape[d]))
        first = max(0, -(-(start - chosen.start) // chosen.step))
        last = min(len(chosen), -(-(start + size - chosen.start) // chosen.step))
        if first >= last:
            return None
        local.append(slice(chosen[first] - start, chosen[last - 1] - start + 1, chosen.step))
        offset += chosen[first] * strides[d]
        steps.append(chosen.step * strides[d])
        spans_.append(range(first, last))
    return part.memory[tuple(local)], Place(offset, tuple(steps), tuple(spans_))


def expanded(index: tuple[Any, ...], ndim: int) -> list[Any]:
    """An index with one item for every dimension."""
    count = sum(item is not ... for item in index)
    items: list[Any] = []
    for item in index:
        items += [slice(None)] * (ndim - count) if item is ... else [item]
    return items + [slice(None)] * (ndim - len(items))


# ---- filling a part


def fill_part(run: Execution, entry: PlanEntry, part: Part, whole: Callable[[Action], torch.Tensor], share: Share) -> None:
    """Carry out every action of an entry on one part.

    `whole` gives the values of an action that needs its whole piece, `share` those of another tensor on this part.
    """
    if part.memory.numel() == 0:
        return
    for action in entry.actions:
        if isinstance(action.payload, Kept | Reset):
            continue
        with failed(run, entry, action):
            _act(run, entry, part, action, whole, share)


Share = Callable[[int, Part], torch.Tensor]


def _act(
    run: Execution, entry: PlanEntry, part: Part, action: Action, whole: Callable[[Action], torch.Tensor], share: Share
) -> None:  # fmt: skip
    if action.view is not None:
        _act_on_view(run, entry, part, action, whole)
        return
    found = selected(part, action, entry.shape)
    if found is None:
        return
    piece, place = found
    payload = action.payload
    if isinstance(payload, Value):
        run.set_value(entry, piece, action, payload)
    elif isinstance(payload, Normal | Uniform | TruncatedNormal | Constant):
        run.distribute(entry, piece, payload, action, place=place)
    elif isinstance(payload, CopyFrom):
        piece.copy_(share(payload.tensor, part))
    elif isinstance(payload, Draw):
        piece.copy_(whole(action)[tuple(slice(s.start, s.stop) for s in place.spans)])
    elif isinstance(payload, Load):
        _load(piece, payload, place)
    else:
        assert isinstance(payload, Expression)
        work = torch.float64 if piece.dtype == torch.float64 else torch.float32
        run.express(entry, piece, action, payload, _PartValues(run, entry, action, piece, work, place, part, share))


def _load(piece: torch.Tensor, payload: Load, place: Place) -> None:
    from safetensors import safe_open

    with safe_open(payload.path, framework="pt") as file:
        piece.copy_(file.get_slice(payload.key)[tuple(slice(s.start, s.stop) for s in place.spans)])


def _act_on_view(
    run: Execution, entry: PlanEntry, part: Part, action: Action, whole: Callable[[Action], torch.Tensor]
) -> None:  # fmt: skip
    """A view's piece need not be a box of the part: compute the part's share and keep what belongs to the piece."""
    assert action.view is not None
    memory = part.memory
    place = selected(part, Action(action.clause, "=", action.payload, action.match, entry.shape), entry.shape)
    assert place is not None
    offset, strides = place[1].offset, place[1].strides
    view_strides = row_major(action.view)
    items = expanded(action.index or (), len(action.view))
    # most pieces of a large view lie elsewhere
    ends = [(range(*i.indices(n)) if isinstance(i, slice) else range(i % n, i % n + 1)) for i, n in zip(items, action.view, strict=True)]
    low = sum(r[0] * s for r, s in zip(ends, view_strides, strict=True))
    high = sum(r[-1] * s for r, s in zip(ends, view_strides, strict=True))
    top = offset + sum((n - 1) * s for n, s in zip(memory.shape, strides, strict=True))
    if high < offset or low > top:
        return
    numbers = torch.full((), offset, dtype=torch.int64)
    for n, step in zip(memory.shape, strides, strict=True):
        numbers = numbers.unsqueeze(-1) + torch.arange(n) * step
    mask = torch.ones(numbers.shape, dtype=torch.bool)
    coordinates = []
    for item, extent, n, step in zip(items, ends, action.view, view_strides, strict=True):
        at = numbers.div(step, rounding_mode="floor") % n
        mask &= (at >= extent.start) & (at < extent.stop) & ((at - extent.start) % extent.step == 0)
        if isinstance(item, slice):
            coordinates.append((at - extent.start).div(extent.step, rounding_mode="floor"))
    mask = mask.to(memory.device)
    payload = action.payload
    if isinstance(payload, Normal | Uniform | TruncatedNormal):
        scratch = torch.empty(memory.shape, dtype=memory.dtype, device=memory.device)
        run.distribute(entry, scratch, payload, action, place=place[1])
        memory.copy_(torch.where(mask, scratch, memory))
    elif isinstance(payload, Draw):
        values = whole(action)
        kept = mask.cpu()
        memory[mask] = values[tuple(at[kept].to(values.device) for at in coordinates)]
    else:
        piece = memory[mask]
        if isinstance(payload, Value):
            run.set_value(entry, piece, action, payload)
        else:
            assert isinstance(payload, Constant)
            piece.fill_(payload.value)
        memory[mask] = piece


class _PartValues(Values):
    """Names with the values of the tensors on one part."""

    def __init__(
        self, run: Execution, entry: PlanEntry, action: Action, piece: torch.Tensor, work: torch.dtype, place: Place,
        part: Part, share: Share,
    ):  # fmt: skip
        super().__init__(run, entry, action, piece, piece, work)
        self.place, self.part, self.share = place, part, share

    def read(self, tensor: int) -> Any:
        return self._steadied(self.share(tensor, self.part).to(device=self._piece_now.device, dtype=self.work))

    def extent(self, d: int, size: int) -> range:
        return self.place.spans[d]


# ---- what can be filled by parts

REDUCTIONS = ("sum", "mean", "std", "norm", "linspace")


class _NotByElement(Exception):
    pass


def needs_whole(plan: Plan, entry: PlanEntry, action: Action, shared: Callable[[int], bool]) -> bool:
    """Whether an action looks at more of a tensor than the elements it writes.

    `shared` tells whether another tensor's share of a part can be had.
    """
    payload = action.payload
    if isinstance(payload, Expression):
        return action.view is not None or not _by_element(plan, entry, action, payload, shared)
    if isinstance(payload, CopyFrom):
        return not shared(payload.tensor)
    if isinstance(payload, Load):
        return action.view is not None
    return isinstance(payload, Draw)


def _by_element(
    plan: Plan, entry: PlanEntry, action: Action, payload: Expression, shared: Callable[[int], bool]
) -> bool:  # fmt: skip
    dry = _Dry(plan, entry, action, shared)
    plan.resolver.lets = action.clause.lets
    try:
        for node in nodes_of(payload.expr, action.clause.lets):
            if isinstance(node, ListNode):
                return False
            if isinstance(node, Subscript) and as_path(node) is None and isinstance(evaluate(node.base, dry), Shape):
                return False
            if isinstance(node, Call):
                several = node.function in ("min", "max") and len(node.arguments) > 1
                if node.function in REDUCTIONS or node.function in FANS:
                    return False
                if node.function in ("min", "max") and not several:
                    return False
                if node.function not in FUNCTIONS and not plan.resolver.registry[node.function].elementwise:
                    return False
        evaluate(payload.expr, dry)
    except (_NotByElement, EvalError):
        return False
    return True


class _Dry(Names):
    """Names with shapes, that refuses what is not element by element."""

    def __init__(self, plan: Plan, entry: PlanEntry, action: Action, shared: Callable[[int], bool]):
        resolver = plan.resolver
        super().__init__(
            plan.network, resolver.matcher, resolver.registry, action.clause.lets, action.match, entry.tensor.index,
            action.shape, plan.canonical,
        )  # fmt: skip
        self.entry, self.action, self.shared = entry, action, shared

    def read(self, tensor: int) -> Any:
        if self.action.index is not None or not self.shared(tensor):
            raise _NotByElement
        return super().read(tensor)

    def whole(self) -> Any:
        if self.action.index is not None:
            raise _NotByElement
        return super().whole()

    def path(self, node: Any, path: Any) -> Any:
        value = super().path(node, path)
        if isinstance(value, Shape) and value.dims != self.shape:
            raise _NotByElement
        return value


