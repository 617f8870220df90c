"""Which coordinates of a tensor this rank holds."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch

from initdsl.filling.boxes import Part, Span, chunk, memory_of, strung
from initdsl.language.expressions.shapes import row_major

__all__ = ["index_text", "row_major_window", "spans"]


# ---- which part of a tensor this rank holds


def spans(tensor: Any) -> list[list[Span]]:
    """The coordinates that this rank holds of a DTensor, dimension by dimension; empty ones where it holds nothing.

    Raises ValueError for a placement that is no `Shard` or `Replicate` (a `Partial` is a sum not taken yet).
    """
    rank = torch.distributed.get_rank() if torch.distributed.is_initialized() else 0
    held = _held(tensor.device_mesh, tensor.placements, tuple(tensor.shape), rank)
    sizes = [sum(span.length for span in row) for row in held]
    local = list(memory_of(tensor).shape)
    if sizes != local and tensor.device_mesh.get_coordinate() is not None:
        raise ValueError(f"its placements {tensor.placements} mean a part of shape {sizes} here, and it has {local}")
    return held


@lru_cache(maxsize=1024)
def _held(mesh: Any, placements: tuple[Any, ...], shape: tuple[int, ...], rank: int) -> list[list[Span]]:
    coordinate = mesh.get_coordinate()
    held = [[Span(0, 0, n)] if n else [] for n in shape]
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


def index_text(held: list[list[Span]]) -> str:
    """A rank's part as one indexes it: `[0:4, :]`."""
    rows = [",".join(f"{s.first}:{s.first + s.length}" for s in row) for row in held]
    return "nothing" if not all(rows) else f"[{', '.join(rows)}]"


def row_major_window(part: Part, shape: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
    strides = row_major(shape)
    return sum(start * stride for start, stride in zip(part.starts, strides, strict=True)), strides
