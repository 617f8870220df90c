"""Values written by the compiled kernel: one pass over the memory, with the bits of `values`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .backend import Kernel
from .keys import StreamKey
from .lanes import Positions
from .lines import quantile_lines
from .recipes import Affine, Choice, Recipe
from .threads import spread

if TYPE_CHECKING:
    from .backend import Rows

__all__ = ["write_compiled"]


def write_compiled(
    kernel: Kernel, out: Tensor, positions: Positions, recipe: Recipe, key: StreamKey, *, alone: bool
) -> None:
    """Write the values at `positions` into `out`, contiguous float32 on the CPU, whose places are in rows.

    Rows, or parts of the only one, are shared by torch's number of threads, unless this thread is to stay `alone`.
    """
    step = positions.steps[0] if len(positions.steps) == 2 else 1
    array = out.numpy().reshape(positions.lengths)
    write_rows = _of_recipe(kernel, recipe, out.device)

    def part(first: int, end: int) -> None:
        rows = array[first:end] if array.ndim == 2 else array[None, first:end]
        write_rows((rows, positions.offset + first * step, step, key.state, key.gamma))

    spread(part, len(array), 0 if alone else out.numel())


def _of_recipe(
    kernel: Kernel, recipe: Recipe, device: torch.device
) -> Callable[[tuple[Rows, int, int, int, int]], None]:
    """Return the kernel's function for a recipe, its tables made: it writes rows, from an offset by a step, of a key."""
    if isinstance(recipe, Affine):
        return lambda rows: kernel.affine(*rows, *recipe)
    if isinstance(recipe, Choice):
        return lambda rows: kernel.choice(*rows, *recipe)
    lines = quantile_lines(recipe, device)
    tables = lines.intercepts.numpy(), lines.slopes.numpy()
    return lambda rows: kernel.lines(*rows, *tables, recipe.low, recipe.high)
