"""Boxes of a tensor: the rectangular parts of it that lie in this process's memory.

A rank that holds a shard has some boxes of a tensor, and a thread that writes a file has one at a time. The elements of
a draw are addressed by their place in the whole tensor, so a box can be drawn alone; an expression that works element
by element is evaluated on the box's share of every tensor it reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch

from initdsl.network.kinds import is_sharded

__all__ = ["Box", "Interval", "Window", "boxes", "chunk", "memory_of", "strung"]


def memory_of(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor's own memory here: of a sharded one, the part that this rank holds."""
    if is_sharded(tensor):
        shard: Any = tensor
        with torch.no_grad():
            tensor = shard.to_local()
    return tensor.detach()


@dataclass(frozen=True, slots=True)
class Interval:
    """Coordinates along one dimension that follow one another: `Interval(8, 0, 4)` has rows 8 to 11 of the whole.

    `first` is the first of them in the whole tensor, `position` where that lies in memory, `length` how many they are.
    """

    first: int
    position: int
    length: int


@dataclass(frozen=True, slots=True)
class Box:
    """A box of a tensor: `Box(memory, (4, 0))`.

    `memory` is a view of it here, and `starts` are the coordinates of its first element in the whole tensor.
    """

    memory: torch.Tensor
    starts: tuple[int, ...]

    @property
    def index(self) -> tuple[slice, ...]:
        """What selects the box in the whole tensor."""
        return tuple(slice(s, s + n) for s, n in zip(self.starts, self.memory.shape, strict=True))


@dataclass(frozen=True, slots=True)
class Window:
    """Where a piece of a box lies: `Window(12, (4, 1), (range(1, 3), range(0, 4)))`.

    `offset` is the number of its first element in the row-major numbering of the whole tensor, and `strides` are the
    steps of that numbering along the piece's dimensions. `extents` are the piece's coordinates, dimension by dimension,
    within all that the action writes.
    """

    offset: int
    strides: tuple[int, ...]
    extents: tuple[range, ...]

    @property
    def index(self) -> tuple[slice, ...]:
        """What selects the piece in all that the action writes."""
        return tuple(slice(extent.start, extent.stop) for extent in self.extents)


def chunk(intervals: Sequence[Interval], chunks: int, which: int) -> list[Interval]:
    """Return one of the chunks that `torch.chunk` makes of the coordinates of some intervals, strung together."""
    total = sum(interval.length for interval in intervals)
    size = -(-total // chunks)
    start, stop = size * which, min(total, size * (which + 1))
    cut = []
    for interval in intervals:
        low, high = max(start, interval.position), min(stop, interval.position + interval.length)
        if low < high:
            cut.append(Interval(interval.first + low - interval.position, low - start, high - low))
    return cut


def strung(rows: Iterable[Sequence[Interval]]) -> list[Interval]:
    """Return intervals laid one after another in memory; those that count on without a gap become one."""
    joined: list[Interval] = []
    position = 0
    for interval in (interval for intervals in rows for interval in intervals):
        last = joined[-1] if joined else None
        if last is not None and last.first + last.length == interval.first:
            joined[-1] = Interval(last.first, last.position, last.length + interval.length)
        else:
            joined.append(Interval(interval.first, position, interval.length))
        position += interval.length
    return joined


def boxes(memory: torch.Tensor, dims: Sequence[Sequence[Interval]]) -> list[Box]:
    """Return the boxes of a memory whose dimensions hold these intervals of the whole tensor's."""
    cut = []
    for combination in product(*dims):
        view = memory
        for d, interval in enumerate(combination):
            view = view.narrow(d, interval.position, interval.length)
        cut.append(Box(view, tuple(interval.first for interval in combination)))
    return cut
