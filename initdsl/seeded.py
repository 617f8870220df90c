"""Seeded fills: which stream, and which elements of it, a piece of a tensor takes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from . import streams

if TYPE_CHECKING:
    import torch

    from .initializers import Distribution
    from .network import TensorInfo
    from .plans import Action

__all__ = ["Seeded", "row_major", "window"]


def row_major(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The strides of a contiguous tensor of this shape, in elements."""
    strides = [1] * len(shape)
    for d in range(len(shape) - 2, -1, -1):
        strides[d] = strides[d + 1] * shape[d + 1]
    return tuple(strides)


def window(shape: tuple[int, ...], index: tuple[Any, ...] | None) -> tuple[int, tuple[int, ...]]:
    """Offset and strides, in the row-major numbering of the whole, of what basic indexing selects."""
    strides = row_major(shape)
    if index is None:
        return 0, strides
    offset, out, place = 0, [], 0
    count = sum(item is not ... for item in index)
    for item in index:
        if item is ...:
            skipped = len(shape) - count
            out += strides[place : place + skipped]
            place += skipped
            continue
        if isinstance(item, slice):
            start, _, step = item.indices(shape[place])
            offset += start * strides[place]
            out.append(step * strides[place])
        else:
            offset += (item % shape[place]) * strides[place]
        place += 1
    return offset, (*out, *strides[place:])


class Seeded:
    """The streams of one seed."""

    def __init__(self, seed: int):
        self.seed = seed
        self._state: Any = None

    def key(self, info: TensorInfo, action: Action, place: int, nth: int) -> Any:
        """The stream of the `nth` draw of one action: those of an edit differ from those of the base below it."""
        edit = action.operator not in ("~", "=") or (place > 0 and action.index is None and action.view is None)
        return streams.key(self.seed, info.name, ((place + 1) << 8 if edit else 0) + nth)

    def fill(
        self, info: TensorInfo, piece: torch.Tensor, what: Distribution, action: Action, place: int, nth: int
    ) -> None:
        shape = action.view or info.shape
        offset, strides = window(shape, action.index)
        streams.fill(piece, what, self.key(info, action, place, nth), offset=offset, strides=strides)

    def generator(self, info: TensorInfo, piece: torch.Tensor, action: Action, place: int, nth: int) -> torch.Generator:
        """A generator of the piece's own, for functions that fill a tensor as a whole."""
        shape = action.view or info.shape
        offset, _ = window(shape, action.index)
        nth = nth + ((offset + 1) << 24 if math.prod(action.shape) != info.numel else 0)
        return streams.generator(self.key(info, action, place, nth), piece.device)

    def enter(self, name: str) -> None:
        """Seed torch's generator for a module's own `reset_parameters`; `leave` puts it back."""
        import torch

        self._state = torch.random.get_rng_state()
        torch.random.default_generator.manual_seed(
            streams.generator(streams.key(self.seed, f"{name}.<default>")).initial_seed()
        )

    def leave(self) -> None:
        import torch

        torch.random.set_rng_state(self._state)
