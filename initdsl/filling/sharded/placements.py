"""Which coordinates of a sharded tensor this rank holds."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch

from initdsl.filling.boxes import Box, Interval, boxes, chunk, memory_of, strung

__all__ = ["boxes_of", "index_text", "intervals"]


def intervals(tensor: Any) -> list[list[Interval]]:
    """Return the coordinates that this rank holds of a DTensor, dimension by dimension; none where it holds nothing.

    Raises ValueError for a placement that is no `Shard` or `Replicate` (a `Partial` is a sum not taken yet).
    """
    rank = torch.distributed.get_rank() if torch.distributed.is_initialized() else 0
    held = _held(tensor.device_mesh, tensor.placements, tuple(tensor.shape), rank)
    sizes = [sum(interval.length for interval in row) for row in held]
    local = list(memory_of(tensor).shape)
    if sizes != local and tensor.device_mesh.get_coordinate() is not None:
        raise ValueError(f"its placements {tensor.placements} mean a part of shape {sizes} here, and it has {local}")
    return held


@lru_cache(maxsize=1024)
def _held(mesh: Any, placements: tuple[Any, ...], shape: tuple[int, ...], rank: int) -> list[list[Interval]]:
    coordinate = mesh.get_coordinate()
    held = [[Interval(0, 0, n)] if n else [] for n in shape]
    if coordinate is None:
        return [[] for _ in held]
    for d, placement in enumerate(placements):
        if placement.is_replicate():
            continue
        dim = getattr(placement, "dim", None)
        if dim is None:
            raise ValueError(f"its placement {placement} is neither `Shard` nor `Replicate`")
        split = int(getattr(placement, "split_factor", 1))
        pieces = [chunk(held[dim], split, j) for j in range(split)]
        held[dim] = strung(chunk(strung([piece]), mesh.size(d), coordinate[d]) for piece in pieces)
    return held


def boxes_of(tensor: torch.Tensor) -> list[Box]:
    """Return the boxes of a sharded tensor that this rank holds."""
    memory = memory_of(tensor)
    return [] if memory.numel() == 0 else boxes(memory, intervals(tensor))


def index_text(held: list[list[Interval]]) -> str:
    """Return a rank's part as one indexes it: `[0:4, :]`."""
    rows = [",".join(f"{i.first}:{i.first + i.length}" for i in row) for row in held]
    return "nothing" if not all(rows) else f"[{', '.join(rows)}]"
