"""Boxes of a tensor, and what of a plan can be carried out on one of them without the rest.

A rank that holds a shard has some boxes of a tensor. The elements of a draw are addressed by their place in the whole,
so a box can be drawn alone; an expression that works element by element is evaluated on the box's share of every
tensor it reads. `scope` tells what an action needs to see beyond its box.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch

from initdsl.network.kinds import is_sharded

__all__ = ["Part", "Place", "Span", "boxes", "chunk", "memory_of", "strung"]


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
