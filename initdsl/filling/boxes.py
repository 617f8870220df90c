"""Boxes of a tensor, and what of a plan can be carried out on one of them without the rest.

A rank that holds a shard has some boxes of a tensor. The elements of a draw are addressed by their place in the whole,
so a box can be drawn alone; an expression that works element by element is evaluated on the box's share of every
tensor it reads. `scope` tells what an action needs to see beyond its box.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import product
from typing import TYPE_CHECKING, Any

import torch

from initdsl.language.expressions.evaluate import FANS, FUNCTIONS, EvalError, Shape, as_path, evaluate
from initdsl.language.syntax.nodes import Binary, Call, ListNode, Subscript
from initdsl.network.describe import is_sharded
from initdsl.planning.names import Names
from initdsl.planning.plan import Action, CopyFrom, Draw, Expression, Load, PlanEntry, extents

from .seeded import nodes_of, row_major

if TYPE_CHECKING:
    from initdsl.planning.plan import Plan

__all__ = ["Part", "Place", "Scope", "Span", "boxes", "chunk", "memory_of", "scope", "selected", "strung", "viewed"]


def memory_of(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor's own memory here: of a sharded one, the part that this rank holds."""
    if is_sharded(tensor):
        shard: Any = tensor
        with torch.no_grad():
            tensor = shard.to_local()
    return tensor.detach()


# ---- boxes


@dataclass(frozen=True, slots=True)
class Span:
    """A run of coordinates along one dimension: the first in the whole, the first in memory, how many."""

    first: int
    position: int
    length: int


@dataclass(frozen=True, slots=True)
class Part:
    """A box of a tensor: its memory, and the coordinates of its first element in the whole."""

    memory: torch.Tensor
    starts: tuple[int, ...]

    @property
    def index(self) -> tuple[slice, ...]:
        """What selects the box in the whole."""
        return tuple(slice(s, s + n) for s, n in zip(self.starts, self.memory.shape, strict=True))


@dataclass(frozen=True, slots=True)
class Place:
    """Where a piece of a box lies: in the row-major numbering of the whole, and in the piece an action writes to.

    `spans` has the coordinates within the action's piece, dimension by dimension.
    """

    offset: int
    strides: tuple[int, ...]
    spans: tuple[range, ...]

    @property
    def index(self) -> tuple[slice, ...]:
        """What selects the piece in the action's."""
        return tuple(slice(s.start, s.stop) for s in self.spans)


def chunk(spans: Sequence[Span], chunks: int, which: int) -> list[Span]:
    """Of the coordinates of some spans, strung together, one of the chunks that `torch.chunk` makes of them."""
    total = sum(span.length for span in spans)
    size = -(-total // chunks)
    start, stop = size * which, min(total, size * (which + 1))
    found = []
    for span in spans:
        low, high = max(start, span.position), min(stop, span.position + span.length)
        if low < high:
            found.append(Span(span.first + low - span.position, low - start, high - low))
    return found


def strung(rows: Iterable[Sequence[Span]]) -> list[Span]:
    """Spans one after another in memory; those that count on without a gap become one."""
    found: list[Span] = []
    place = 0
    for span in (span for spans in rows for span in spans):
        last = found[-1] if found else None
        if last is not None and last.first + last.length == span.first:
            found[-1] = Span(last.first, last.position, last.length + span.length)
        else:
            found.append(Span(span.first, place, span.length))
        place += span.length
    return found


def boxes(memory: torch.Tensor, dims: Sequence[Sequence[Span]]) -> list[Part]:
    """The boxes of a memory whose dimensions hold spans of the whole's."""
    found = []
    for combination in product(*dims):
        view = memory
        for d, span in enumerate(combination):
            view = view.narrow(d, span.position, span.length)
        found.append(Part(view, tuple(span.first for span in combination)))
    return found


def selected(part: Part, index: tuple[Any, ...] | None, shape: tuple[int, ...]) -> tuple[torch.Tensor, Place] | None:
    """What of a box basic indexing of the whole selects, and where that lies; `None` where it is nothing."""
    strides = row_major(shape)
    local: list[Any] = []
    offset, steps, spans = 0, [], []
    items = _items(index or (), len(shape))
    for d, (item, chosen) in enumerate(zip(items, extents(index or (), shape), strict=True)):
        start, size = part.starts[d], part.memory.shape[d]
        first = max(0, -(-(start - chosen.start) // chosen.step))
        last = min(len(chosen), -(-(start + size - chosen.start) // chosen.step))
        if first >= last:
            return None
        offset += chosen[first] * strides[d]
        if isinstance(item, slice):
            local.append(slice(chosen[first] - start, chosen[last - 1] - start + 1, chosen.step))
            steps.append(chosen.step * strides[d])
            spans.append(range(first, last))
        else:
            local.append(chosen[first] - start)
    return part.memory[tuple(local)], Place(offset, tuple(steps), tuple(spans))


# elements of a box whose places are looked at one by one
LOOKED_AT = 1 << 16


Viewed = tuple[Part, "torch.Tensor | None", list["torch.Tensor"]]


def viewed(part: Part, shape: tuple[int, ...], action: Action) -> Iterator[Viewed]:
    """What of a box belongs to the piece of a view: smaller boxes, which elements of them, and their coordinates in it.

    The elements are a mask (`None`: all, and no coordinates are given); the coordinates one tensor a dimension of the
    piece.
    """
    assert action.view is not None
    chosen = extents(action.index or (), action.view)
    steps = row_major(action.view)
    strides = row_major(shape)
    sizes = part.memory.shape
    low = sum(start * stride for start, stride in zip(part.starts, strides, strict=True))
    high = low + sum((n - 1) * stride for n, stride in zip(sizes, strides, strict=True))
    first = sum(r[0] * s for r, s in zip(chosen, steps, strict=True))
    last = sum(r[-1] * s for r, s in zip(chosen, steps, strict=True))
    if high < first or low > last or part.memory.numel() == 0:
        return
    simple = not isinstance(action.payload, Expression | Draw | CopyFrom | Load)
    if simple and first <= low and high <= last and last - first + 1 == math.prod(map(len, chosen)):
        yield part, None, []
    elif part.memory.numel() > LOOKED_AT:
        d = next(d for d, n in enumerate(sizes) if n > 1)
        cut = sizes[d] // 2
        upper = tuple(s + cut * (i == d) for i, s in enumerate(part.starts))
        yield from viewed(Part(part.memory.narrow(d, 0, cut), part.starts), shape, action)
        yield from viewed(Part(part.memory.narrow(d, cut, sizes[d] - cut), upper), shape, action)
    else:
        yield from _masked(part, low, strides, chosen, action)


def _masked(
    part: Part, low: int, strides: tuple[int, ...], chosen: list[range], action: Action
) -> Iterator[Viewed]:  # fmt: skip
    assert action.view is not None
    sizes = part.memory.shape
    numbers = torch.full((), low, dtype=torch.int64)
    for n, stride in zip(sizes, strides, strict=True):
        numbers = numbers.unsqueeze(-1) + torch.arange(n) * stride
    mask = torch.ones(sizes, dtype=torch.bool)
    coordinates = []
    items = _items(action.index or (), len(action.view))
    for item, extent, n, step in zip(items, chosen, action.view, row_major(action.view), strict=True):
        at = numbers.div(step, rounding_mode="floor") % n - extent.start
        mask &= (at >= 0) & (at < extent.stop - extent.start) & (at % extent.step == 0)
        if isinstance(item, slice):
            coordinates.append(at.div(extent.step, rounding_mode="floor"))
    if bool(mask.any()):
        yield part, mask, [at[mask] for at in coordinates]


def _items(index: tuple[Any, ...], ndim: int) -> list[Any]:
    """An index with one item for every dimension."""
    count = sum(item is not ... for item in index)
    items: list[Any] = []
    for item in index:
        items += [slice(None)] * (ndim - count) if item is ... else [item]
    return items + [slice(None)] * (ndim - len(items))


# ---- what an action needs to see


class Scope(IntEnum):
    """What has to be there to carry an action out on a box."""

    ELEMENT = 0  # the box, and the same box of what it reads
    PIECE = 1  # the values of all that it writes, which don't depend on those that are there
    TENSOR = 2  # the whole tensor as it is at its turn


REDUCTIONS = ("sum", "mean", "std", "norm", "linspace", "resize_rows", "resize_grid", "load")


def scope(
    plan: Plan, entry: PlanEntry, action: Action, shares: Callable[[int], bool], *, of_view: bool = False
) -> Scope:  # fmt: skip
    """What an action needs. `shares` tells whether another tensor's share of the entry's boxes is at hand.

    `of_view`: where the action looks through a view, the boxes are the view's.
    """
    payload = action.payload
    if isinstance(payload, Expression):
        if (action.view is None or of_view) and _by_element(plan, entry, action, payload, shares):
            return Scope.ELEMENT
        return Scope.TENSOR if payload.reads_itself else Scope.PIECE
    if isinstance(payload, Draw):
        return Scope.PIECE if payload.initializer.builtin else Scope.TENSOR
    if isinstance(payload, CopyFrom):
        return Scope.ELEMENT if shares(payload.tensor) else Scope.PIECE
    if isinstance(payload, Load):
        return Scope.ELEMENT if action.view is None else Scope.PIECE
    return Scope.ELEMENT


class _NotByElement(Exception):
    pass


def _by_element(
    plan: Plan, entry: PlanEntry, action: Action, payload: Expression, shares: Callable[[int], bool]
) -> bool:  # fmt: skip
    """Whether every element of the result depends on the same element of what is read: tried on shapes."""
    plan.resolver.lets = action.clause.lets
    trial = _Trial(plan, entry, action, shares)
    try:
        for node in nodes_of(payload.expr, action.clause.lets):
            if isinstance(node, ListNode) or not _node_by_element(plan, entry, node, trial):
                return False
        evaluate(payload.expr, trial)
    except (_NotByElement, EvalError):
        return False
    return True


def _node_by_element(plan: Plan, entry: PlanEntry, node: Any, trial: _Trial) -> bool:
    if isinstance(node, Subscript) and as_path(node) is None:
        return not isinstance(evaluate(node.base, trial), Shape)
    if isinstance(node, Binary):  # torch's float64 power has other last bits in other places of a tensor
        return node.operator != "**" or entry.dtype != "float64"
    if isinstance(node, Call):
        if node.function in REDUCTIONS or node.function in FANS:
            return False
        if node.function in ("min", "max"):
            return len(node.arguments) > 1
        return node.function in FUNCTIONS or plan.resolver.registry[node.function].elementwise
    return True


class _Trial(Names):
    """Names with shapes, that refuses to look at more than one element of a tensor at a time."""

    def __init__(self, plan: Plan, entry: PlanEntry, action: Action, shares: Callable[[int], bool]):
        resolver = plan.resolver
        super().__init__(
            plan.network, resolver.matcher, resolver.registry, action.clause.lets, action.match, entry.tensor.index,
            action.shape, plan.canonical,
        )  # fmt: skip
        self.entry, self.action, self.shares = entry, action, shares

    def read(self, tensor: int) -> Any:
        same = self.network.tensors[tensor].shape == self.entry.shape
        if self.partial or not same or not self.shares(tensor):
            raise _NotByElement
        return super().read(tensor)

    @property
    def partial(self) -> bool:
        return self.action.index is not None or self.action.view is not None

    def whole(self) -> Any:
        if self.partial:
            raise _NotByElement
        return super().whole()

    def path(self, node: Any, path: Any) -> Any:
        value = super().path(node, path)
        if isinstance(value, Shape) and value.dims != self.shape:
            raise _NotByElement
        return value
