"""Actions carried out on a box of a tensor, where an element needs no other: with the values of a whole fill, bit for bit."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch

from initdsl.language.expressions.shapes import extents, full_index, row_major
from initdsl.planning.actions import Action, CopyFrom, Draw, Expression, Load
from initdsl.planning.plan import PlanEntry

from .boxes import Box, Window
from .run import Run
from .write import Piece, write

__all__ = ["Share", "Viewed", "fill_box", "selected", "viewed"]


# returns the values of a tensor, by its number, where a box lies
Share = Callable[[int, Box], torch.Tensor]


def fill_box(run: Run, entry: PlanEntry, action: Action, box: Box, shape: tuple[int, ...], share: Share) -> None:
    """Carry out an action of `Locality.ELEMENT` on a box of a tensor, or of a view of it, of this shape."""
    selection = selected(box, action.index, shape)
    if selection is not None:
        memory, window = selection
        write(run, Piece(entry, action, memory, memory, lambda tensor: share(tensor, box), window))


def selected(box: Box, index: tuple[Any, ...] | None, shape: tuple[int, ...]) -> tuple[torch.Tensor, Window] | None:
    """Return what of a box basic indexing of the whole selects, and where that lies; None where it is nothing."""
    strides = row_major(shape)
    local: list[Any] = []
    offset, steps, coordinates = 0, [], []
    items = full_index(index or (), len(shape))
    for d, (item, extent) in enumerate(zip(items, extents(index or (), shape), strict=True)):
        start, size = box.starts[d], box.memory.shape[d]
        first = max(0, -(-(start - extent.start) // extent.step))
        last = min(len(extent), -(-(start + size - extent.start) // extent.step))
        if first >= last:
            return None
        offset += extent[first] * strides[d]
        if isinstance(item, slice):
            local.append(slice(extent[first] - start, extent[last - 1] - start + 1, extent.step))
            steps.append(extent.step * strides[d])
            coordinates.append(range(first, last))
        else:
            local.append(extent[first] - start)
    return box.memory[tuple(local)], Window(offset, tuple(steps), tuple(coordinates))


# ---- through a view


# elements of a box whose places are looked at one by one
LOOKED_AT = 1 << 16


class Viewed(NamedTuple):
    """What of a box belongs to the piece of a view: a smaller box, and which elements of it.

    `mask` is None where that is all of them; else `coordinates` has those elements' places in the piece, a tensor for
    each of its dimensions.
    """

    box: Box
    mask: torch.Tensor | None
    coordinates: tuple[torch.Tensor, ...]


def viewed(box: Box, shape: tuple[int, ...], action: Action) -> Iterator[Viewed]:
    """Yield what of a box of a tensor of this shape belongs to the piece that an action writes through a view."""
    assert action.view is not None
    chosen = extents(action.index or (), action.view)
    steps = row_major(action.view)
    strides = row_major(shape)
    sizes = box.memory.shape
    low = sum(start * stride for start, stride in zip(box.starts, strides, strict=True))
    high = low + sum((n - 1) * stride for n, stride in zip(sizes, strides, strict=True))
    first = sum(r[0] * s for r, s in zip(chosen, steps, strict=True))
    last = sum(r[-1] * s for r, s in zip(chosen, steps, strict=True))
    if high < first or low > last or box.memory.numel() == 0:
        return
    simple = not isinstance(action.payload, Expression | Draw | CopyFrom | Load)
    if simple and first <= low and high <= last and last - first + 1 == math.prod(map(len, chosen)):
        yield Viewed(box, None, ())
    elif box.memory.numel() > LOOKED_AT:
        d = next(d for d, n in enumerate(sizes) if n > 1)
        cut = sizes[d] // 2
        upper = tuple(s + cut * (i == d) for i, s in enumerate(box.starts))
        yield from viewed(Box(box.memory.narrow(d, 0, cut), box.starts), shape, action)
        yield from viewed(Box(box.memory.narrow(d, cut, sizes[d] - cut), upper), shape, action)
    else:
        yield from _masked(box, low, strides, chosen, action)


def _masked(box: Box, low: int, strides: tuple[int, ...], chosen: list[range], action: Action) -> Iterator[Viewed]:
    assert action.view is not None
    sizes = box.memory.shape
    numbers = torch.full((), low, dtype=torch.int64)
    for n, stride in zip(sizes, strides, strict=True):
        numbers = numbers.unsqueeze(-1) + torch.arange(n) * stride
    mask = torch.ones(sizes, dtype=torch.bool)
    coordinates = []
    items = full_index(action.index or (), len(action.view))
    for item, extent, n, step in zip(items, chosen, action.view, row_major(action.view), strict=True):
        places = numbers.div(step, rounding_mode="floor") % n - extent.start
        mask &= (places >= 0) & (places < extent.stop - extent.start) & (places % extent.step == 0)
        if isinstance(item, slice):
            coordinates.append(places.div(extent.step, rounding_mode="floor"))
    if bool(mask.any()):
        yield Viewed(box, mask, tuple(places[mask] for places in coordinates))
