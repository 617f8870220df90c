"""Actions carried out on a box of a tensor, in which an element needs no other: with the values of `apply`, bit for bit."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator
from typing import Any

import torch

from initdsl.initializers import Constant, Random
from initdsl.language.expressions.shapes import extents, full_index, row_major
from initdsl.planning.actions import Action, CopyFrom, Draw, Expression, Load, Value
from initdsl.planning.plan import PlanEntry

from .boxes import Part, Place
from .execute import Execution
from .write import Values

__all__ = ["PartExecution", "selected", "viewed"]


class PartExecution(Execution):
    """A run that has boxes of tensors at hand."""

    def act_on(self, entry: PlanEntry, part: Part, shape: tuple[int, ...], action: Action) -> None:
        """Carry out an action of `Scope.ELEMENT` on a box of a tensor, or of a view of it, of this shape."""
        found = selected(part, action.index, shape)
        if found is None:
            return
        piece, place = found
        payload = action.payload
        if isinstance(payload, Value):
            self.assign(entry, piece, action, payload)
        elif isinstance(payload, Random | Constant):
            self.distribute(entry, piece, payload, action, place=place)
        elif isinstance(payload, CopyFrom):
            piece.copy_(self.share(payload.tensor, part))
        elif isinstance(payload, Load):
            piece.copy_(self.reader.tensor(payload, place.index))
        else:
            assert isinstance(payload, Expression)
            self.express(entry, piece, action, payload, _PartValues(self, entry, action, piece, part, place))

    @abstractmethod
    def share(self, tensor: int, part: Part) -> torch.Tensor:
        """The values of another tensor where a box lies."""


class _PartValues(Values):
    """The values of tensors on one box."""

    def __init__(
        self, run: PartExecution, entry: PlanEntry, action: Action, piece: torch.Tensor, part: Part, place: Place
    ):
        work = torch.float64 if piece.dtype == torch.float64 else torch.float32
        super().__init__(run, entry, action, piece, piece, work, place)
        self.parted, self.part = run, part

    def read(self, tensor: int) -> torch.Tensor:
        """The part of another tensor that lies where the box does."""
        return self._ready(self.parted.share(tensor, self.part))


def selected(part: Part, index: tuple[Any, ...] | None, shape: tuple[int, ...]) -> tuple[torch.Tensor, Place] | None:
    """What of a box basic indexing of the whole selects, and where that lies; `None` where it is nothing."""
    strides = row_major(shape)
    local: list[Any] = []
    offset, steps, spans = 0, [], []
    items = full_index(index or (), len(shape))
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
    items = full_index(action.index or (), len(action.view))
    for item, extent, n, step in zip(items, chosen, action.view, row_major(action.view), strict=True):
        at = numbers.div(step, rounding_mode="floor") % n - extent.start
        mask &= (at >= 0) & (at < extent.stop - extent.start) & (at % extent.step == 0)
        if isinstance(item, slice):
            coordinates.append(at.div(extent.step, rounding_mode="floor"))
    if bool(mask.any()):
        yield part, mask, [at[mask] for at in coordinates]
