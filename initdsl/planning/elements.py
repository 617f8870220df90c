"""Which elements of a tensor actions write: whether pieces make up the whole, are the same, or overlap."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Sequence
from itertools import combinations, product

from initdsl.language.expressions.shapes import extents, joined, window

from .actions import Action

__all__ = ["cover", "elements_key", "overlapping"]


# cells of a grid, or runs of neighbouring elements, that are looked at one by one
MOST_LOOKED_AT = 1 << 17


Layout = tuple[tuple[int, int], ...]


def elements_key(action: Action, shape: tuple[int, ...]) -> Hashable:
    """Return what is equal for actions that write the same elements of a tensor of this shape, in one order."""
    if action.index is None:
        return (0, ((math.prod(shape), 1),)) if math.prod(shape) != 1 else (0, ())
    return _layout(action, shape)


def _layout(action: Action, shape: tuple[int, ...]) -> tuple[int, Layout]:
    """Return the number of the first element that is written, and `(size, stride)` of as few dimensions as there can be."""
    offset, strides = window(action.view or shape, action.index)
    return offset, tuple(joined(action.shape, strides))


def cover(actions: Sequence[Action], shape: tuple[int, ...]) -> bool:
    """Return whether actions together write every element of a tensor of this shape."""
    if not actions:
        return False
    views = {action.view for action in actions}
    if len(views) == 1:
        return _fill_grid([extents(a.index or (), a.view or shape) for a in actions], actions[0].view or shape)
    runs = _runs(actions, shape)
    reached = 0
    for start, stop, _ in sorted(runs or ()):
        if start > reached:
            return False
        reached = max(reached, stop)
    return reached == math.prod(shape)


def _fill_grid(boxes: Sequence[Sequence[range]], shape: tuple[int, ...]) -> bool:
    """Return whether boxes make up a shape: each dimension is cut where one begins or ends, and the cells are counted."""
    cells: list[list[int]] = []  # the first coordinate of each cell, by dimension
    for d, size in enumerate(shape):
        cuts = {0}
        for box in boxes:
            extent = box[d]
            cuts.update(extent if extent.step > 1 else (extent.start, extent.stop))
            cuts.update(x + 1 for x in (extent if extent.step > 1 else ()))
        cells.append(sorted(c for c in cuts if c < size))
    if math.prod(map(len, cells)) > MOST_LOOKED_AT:
        return False
    wanted = set(product(*cells))
    for box in boxes:
        wanted.difference_update(
            product(*([c for c in row if c in extent] for row, extent in zip(cells, box, strict=True)))
        )
    return not wanted


def _runs(actions: Sequence[Action], shape: tuple[int, ...]) -> list[tuple[int, int, int]] | None:
    """Return the runs of neighbouring elements that actions write, each with the action's place; None where there are too many."""
    runs: list[tuple[int, int, int]] = []
    for place, action in enumerate(actions):
        offset, dims = _layout(action, shape)
        length = 1
        if dims and dims[-1][1] == 1:
            length, dims = dims[-1][0], dims[:-1]
        if len(runs) + math.prod(size for size, _ in dims) > MOST_LOOKED_AT:
            return None
        runs += ((start, start + length, place) for start in _starts(offset, dims))
    return runs


def _starts(offset: int, dims: Layout) -> Iterator[int]:
    for steps in product(*(range(0, size * stride, stride) for size, stride in dims)):
        yield offset + sum(steps)


def overlapping(actions: Sequence[Action], shape: tuple[int, ...]) -> tuple[Action, Action] | None:
    """Return two actions that write a common element of a tensor of this shape, if there are such two."""
    runs = _runs(actions, shape)
    if runs is None:
        pairs = ((one, other) for one, other in combinations(actions, 2) if one.view == other.view)
        return next((pair for pair in pairs if _boxes_meet(*pair, shape)), None)
    reached, owner = 0, 0
    for start, stop, place in sorted(runs):
        if start < reached and place != owner:
            return actions[min(owner, place)], actions[max(owner, place)]
        if stop > reached:
            reached, owner = stop, place
    return None


def _boxes_meet(one: Action, other: Action, shape: tuple[int, ...]) -> bool:
    """Return whether two pieces of one view have a common element."""
    seen = one.view or shape
    for a, b in zip(extents(one.index or (), seen), extents(other.index or (), seen), strict=True):
        shorter, longer = sorted((a, b), key=len)
        if not any(x in longer for x in shorter):
            return False
    return True
