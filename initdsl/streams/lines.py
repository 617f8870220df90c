"""Quantiles as straight segments, small enough for the caches of a processor."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, wraps
from typing import NamedTuple, ParamSpec, TypeVar

import torch
from torch import Tensor

from .quantile import normal_quantile
from .recipes import Quantile

__all__ = ["DROP", "SHIFT", "Lines", "device_segments", "quantile_lines"]


# A float32 position is a signed count of 2**-32: 0.5 .. 2**31. Its segment is its sign, its exponent and the first
# bits of its mantissa, so segments are as fine, relative to the distance from the bound, everywhere.
_MANTISSA_BITS = 9
_FIRST, _LAST = 126 << _MANTISSA_BITS, 158 << _MANTISSA_BITS  # the segments of 0.5 and of 2**31

# The index of a position's segment is `(bits >> DROP) + SHIFT`, with an arithmetic shift: negative positions start at 0.
DROP = 23 - _MANTISSA_BITS
SHIFT = (1 << 31 - DROP) - _FIRST

_POSITIVE = 1 << 31 - DROP  # the index where positive positions start
_SIZE = _POSITIVE + _LAST - _FIRST + 1


P = ParamSpec("P")
Table = TypeVar("Table", bound=tuple[Tensor, ...])


def _outside_modes(make: Callable[P, Table]) -> Callable[P, Table]:
    """Make plain tensors, which can be kept, also where a mode of torch makes others (fake ones).

    Modes are a thread's own.
    """

    @wraps(make)
    def plain(*args: P.args, **kwargs: P.kwargs) -> Table:
        tables = make(*args, **kwargs)
        if type(tables[0]) is Tensor:
            return tables
        with ThreadPoolExecutor(1) as elsewhere:
            return elsewhere.submit(make, *args, **kwargs).result()

    return plain


@lru_cache(maxsize=8)
@_outside_modes
def _segments(alpha: float, beta: float) -> tuple[Tensor, Tensor]:
    """Return intercept and slope of each segment, float64, laid out by index; what no position reaches is 0."""
    count = _LAST - _FIRST
    segment = torch.arange(_FIRST, _LAST + 1, dtype=torch.int32, device="cpu")
    position = (segment << DROP).view(torch.float32).to(torch.float64)
    intercepts, slopes = torch.zeros(2, _SIZE, dtype=torch.float64, device="cpu").unbind()
    for sign, start in ((1.0, _POSITIVE), (-1.0, 0)):
        x = position * sign
        y = normal_quantile(x * 2.0**-32, alpha, beta)
        slope = (y[1:] - y[:-1]) / (x[1:] - x[:-1])
        slopes[start : start + count] = slope
        intercepts[start : start + count] = y[:-1] - slope * x[:-1]
        intercepts[start + count] = y[-1]  # the middle, reached by rounding: a single point
    return intercepts, slopes


@lru_cache(maxsize=8)
@_outside_modes
def device_segments(alpha: float, beta: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return intercept and slope of each segment of a truncated standard normal, float64, on a device."""
    intercepts, slopes = _segments(alpha, beta)
    return intercepts.to(device), slopes.to(device)


class Lines(NamedTuple):
    """A quantile as straight segments, float32: `slopes[i] * position + intercepts[i]` where segment `i` is."""

    intercepts: Tensor
    slopes: Tensor


@lru_cache(maxsize=8)
@_outside_modes
def quantile_lines(recipe: Quantile, device: torch.device) -> Lines:
    """Return the segments of a distribution, located, scaled and rounded to float32, on a device."""
    intercepts, slopes = _segments(recipe.alpha, recipe.beta)
    return Lines(
        (intercepts * recipe.scale + recipe.loc).to(torch.float32).to(device),
        (slopes * recipe.scale).to(torch.float32).to(device),
    )
