"""Fills by Triton's kernel: on a CUDA device, and wherever INITDSL_KERNEL asks for it."""

from __future__ import annotations

import math
from types import ModuleType

import torch
from torch import Tensor

from initdsl.text.failures import first_line, out_of_memory

from .backend import triton_kernel, wanted, warn
from .buffers import Buffers
from .keys import StreamKey
from .lanes import Positions
from .recipes import Affine, Choice, Quantile, Recipe
from .values import write

__all__ = ["filled_by_triton"]


# devices on which Triton's kernel gave the bits of torch's operations, and those where it did not
_checked: dict[torch.device, bool] = {}


def filled_by_triton(
    view: Tensor, steps: tuple[int, ...], offset: int, recipe: Recipe, key: StreamKey, *, small: bool
) -> bool:
    """Fill a tensor by Triton's kernel; return whether it was done. Where it was not, the tensor may be half written.

    Before the first fill on a device its values are compared with those of torch's operations there.
    """
    if type(view) is not Tensor or wanted(view.device.type) != "triton":
        return False
    kernel = triton_kernel()
    if kernel is None or view.dtype not in kernel.DTYPES:
        return False
    try:
        if view.device not in _checked:
            _checked[view.device] = _agrees(kernel, view.device)
        if not _checked[view.device]:
            return False
        kernel.fill(view, steps, offset, recipe, key, small=small)
    except Exception as error:  # no compiler, a driver of another version: Triton says it in many ways
        if not out_of_memory(error):
            _checked[view.device] = False
            warn(f"Triton can't fill on {view.device} ({first_line(error)})")
        return False
    torch.autograd.graph.increment_version(view)
    return True


def _agrees(kernel: ModuleType, device: torch.device) -> bool:
    """Compare some thousand values of each kind with those of torch's operations; say it where they differ."""
    key, count = StreamKey(3 << 40, 5 << 40, (7 << 40) + 1), 5000
    normal = Quantile(0.1, 0.3, -math.inf, math.inf, -math.inf, math.inf)
    recipes: list[Recipe] = [Affine(2.0**-31, 0.25, -0.75, 1.25), Choice(12345, 0.0, 1.0), normal]
    for recipe in recipes:
        for small in (False, True):
            mine, theirs = torch.empty(2, count, device=device).unbind()
            kernel.fill(mine, (1,), 1, recipe, key, small=small)
            write(theirs, Positions((count,), (1,), 1), recipe, key, Buffers(key, device), scaled_alone=small)
            if not torch.equal(mine.view(torch.int32), theirs.view(torch.int32)):
                warn(f"Triton's values on {device} are others than those of stream v1")
                return False
    return True
