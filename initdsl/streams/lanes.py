"""The 32-bit lane of each element: which half of which word of a stream it is computed from.

Word `i` of a stream gives the elements 2i (its low half) and 2i + 1 (its high half).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from initdsl.language.expressions.shapes import joined

from .buffers import Buffers
from .keys import StreamKey, mix, signed

__all__ = ["Positions", "lanes"]


class Positions(NamedTuple):
    """Places in a stream, row by row: `Positions((3, 4), (10, 1), 7)` are 7 8 9 10, 17 18 19 20 and 27 28 29 30."""

    lengths: tuple[int, ...]  # of dimensions, from the largest step to the smallest
    steps: tuple[int, ...]  # from one element of a dimension to the next
    offset: int  # the place of the first element

    @classmethod
    def merged(cls, lengths: tuple[int, ...], steps: tuple[int, ...], offset: int) -> Positions:
        """Return these places with as few dimensions as may be: those that together count on are joined."""
        if len(lengths) == 1:
            return cls(tuple(lengths), steps, offset)
        dims = joined(lengths, steps) or [(1, 1)]
        return cls(tuple(n for n, _ in dims), tuple(step for _, step in dims), offset)


def lanes(positions: Positions, key: StreamKey, buffers: Buffers, *, fine: bool = False) -> Tensor:
    """Return the lane of each element as a one-dimensional int32 tensor, in memory that the next call overwrites.

    `fine` lanes are those of a second sequence under the same key, the low halves of float64 positions.
    """
    state = key.fine if fine else key.state
    lengths, steps, offset = positions
    if steps == (1,):
        return _run(lengths[0], offset, state, key.gamma, buffers)
    if len(steps) == 2 and steps[1] == 1 and not steps[0] & 1 and lengths[1] >= 8:
        return _rows(positions, state, key.gamma, buffers)
    return _anywhere(positions, state, key.gamma, buffers)


def _run(count: int, offset: int, state: int, gamma: int, buffers: Buffers) -> Tensor:
    first, skipped = offset >> 1, offset & 1
    words = (count + skipped + 1) >> 1
    z = buffers.take("words", words, torch.int64)
    torch.add(buffers.multiples(words), signed(state + first * gamma), out=z)
    return mix(z, buffers.take("spare", words, torch.int64)).view(torch.int32)[skipped : skipped + count]


def _rows(positions: Positions, state: int, gamma: int, buffers: Buffers) -> Tensor:
    """Rows begin an even number of elements apart; within each, words count on."""
    (rows, count), (step, _), offset = positions
    first, skipped = offset >> 1, offset & 1
    words = (count + skipped + 1) >> 1
    starts = torch.arange(rows, dtype=torch.int64, device=buffers.device).mul_(signed((step >> 1) * gamma))
    starts.add_(signed(state + first * gamma))
    along = torch.arange(words, dtype=torch.int64, device=buffers.device).mul_(signed(gamma))
    z = buffers.take("words", rows * words, torch.int64)
    torch.add(starts[:, None], along, out=z.view(rows, words))
    mix(z, buffers.take("spare", rows * words, torch.int64))
    return z.view(torch.int32).view(rows, 2 * words)[:, skipped : skipped + count].reshape(-1)


def _anywhere(positions: Positions, state: int, gamma: int, buffers: Buffers) -> Tensor:
    """A word is computed for every element, and half of it used."""
    lengths, steps, offset = positions
    count = math.prod(lengths)
    index = torch.full((), offset, dtype=torch.int64, device=buffers.device)
    for n, step in zip(lengths, steps, strict=True):
        index = index.unsqueeze(-1) + torch.arange(n, dtype=torch.int64, device=buffers.device) * step
    index = index.reshape(-1)
    z = (index >> 1).mul_(signed(gamma)).add_(signed(state))
    mix(z, buffers.take("spare", count, torch.int64))
    halves = z.view(torch.int32).view(count, 2)
    return torch.where((index & 1).bool(), halves[:, 1], halves[:, 0])
