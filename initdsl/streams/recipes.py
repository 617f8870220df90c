"""How uniform words become the values of a distribution."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from initdsl.initializers.distributions import Bernoulli, Distribution, Normal, TruncatedNormal, Uniform

__all__ = ["Affine", "Choice", "Quantile", "Recipe", "recipe_of"]


# ------------------------------------------------------------------------------------- distributions to numbers


class Affine(NamedTuple):
    """Uniform: `position * step + middle`, held in `[low, high]`."""

    step: float
    middle: float
    low: float
    high: float


class Quantile(NamedTuple):
    """Location, scale, bounds in the tensor's dtype, and the truncated standard normal they are applied to."""

    loc: float
    scale: float
    low: float
    high: float
    alpha: float
    beta: float


class Choice(NamedTuple):
    """Two values: `high` in lanes up to `last`, else `low`."""

    last: int
    low: float
    high: float


Recipe = Affine | Quantile | Choice


@lru_cache(maxsize=1024)
def recipe_of(distribution: Distribution, dtype: torch.dtype) -> Recipe:
    if isinstance(distribution, Uniform):
        low, high = float(distribution.low), float(distribution.high)
        if not (math.isfinite(low) and math.isfinite(high) and low <= high):
            raise ValueError(f"uniform needs finite bounds with low at most high, not {low} and {high}")
        inside = _inside(low, high, dtype, open_above=True)
        bits = 64 if dtype == torch.float64 else 32
        step, middle = (math.ldexp(high, -bits) - math.ldexp(low, -bits)), low / 2 + high / 2
        return Affine(_working(step, dtype), _working(middle, dtype), *inside)
    if isinstance(distribution, Bernoulli):
        p, low, high = (float(x) for x in (distribution.p, distribution.low, distribution.high))
        if not (0 <= p <= 1 and math.isfinite(low) and math.isfinite(high)):
            raise ValueError(f"a choice needs a probability between 0 and 1 and two finite values, not {distribution}")
        return Choice(round(p * 2**32) - 2**31 - 1, low, high)
    if isinstance(distribution, Normal):
        loc, scale = float(distribution.mean), float(distribution.std)
        alpha, beta, low, high = -math.inf, math.inf, -math.inf, math.inf
    elif isinstance(distribution, TruncatedNormal):
        loc, scale = float(distribution.loc), float(distribution.scale)
        low, high = float(distribution.low), float(distribution.high)
        if math.isnan(low) or math.isnan(high) or not low < high:
            raise ValueError(f"a truncated normal needs low less than high, not {low} and {high}")
        alpha, beta = ((low - loc) / scale, (high - loc) / scale) if scale > 0 else (-math.inf, math.inf)
    else:
        raise TypeError(f"{type(distribution).__name__} is no element-wise distribution")
    if not (math.isfinite(loc) and math.isfinite(scale) and scale >= 0):
        raise ValueError(f"a normal needs a finite mean and a finite std of at least 0, not {loc} and {scale}")
    if isinstance(distribution, TruncatedNormal):
        if scale == 0:
            raise ValueError("a truncated normal needs a scale greater than 0")
        if min(abs(alpha), abs(beta)) > _FARTHEST and (alpha > 0) == (beta > 0):
            raise ValueError(f"the bounds of a truncated normal are more than {_FARTHEST} scales from its location")
        low, high = _inside(low, high, dtype, open_above=False)
        if dtype != torch.float64 and alpha <= 0 <= beta:
            # What lies farther out has less than 2**-62 of the mass, and no float32 position falls there.
            alpha, beta = (-math.inf if alpha < -_NEVER else alpha), (math.inf if beta > _NEVER else beta)
    return Quantile(loc, scale, low, high, alpha, beta)


def _working(value: float, dtype: torch.dtype) -> float:
    """A parameter rounded to the precision the values are computed in."""
    return value if dtype == torch.float64 else float(_number(value).to(torch.float32))


def _number(value: float) -> Tensor:
    """As a tensor on the CPU, whatever torch's default device is."""
    return torch.tensor(value, dtype=torch.float64, device="cpu")


def _inside(low: float, high: float, dtype: torch.dtype, open_above: bool) -> tuple[float, float]:
    """The smallest and the largest number of `dtype` in the interval; where there is none, the nearest number twice."""
    if dtype == torch.float64 and not open_above:
        return low, high
    integer = {2: torch.int16, 4: torch.int32, 8: torch.int64}[dtype.itemsize]

    def step(number: Tensor, up: bool) -> Tensor:
        bits = int(number.view(integer))
        if float(number) == 0:
            smallest = torch.tensor(1, dtype=integer, device="cpu").view(dtype)
            return smallest if up else -smallest
        bits += 1 if (float(number) > 0) == up else -1
        return torch.tensor(bits, dtype=integer, device="cpu").view(dtype)

    bottom = _number(low).to(dtype)
    top = _number(high).to(dtype)
    while float(bottom) < low:
        bottom = step(bottom, up=True)
    while float(top) > high or (open_above and float(top) == high and low < high):
        top = step(top, up=False)
    if float(bottom) > float(top):
        nearest = float(_number(low).to(dtype))
        return nearest, nearest
    return float(bottom), float(top)


# ---------------------------------------------------------------------------- the normal distribution function

_FARTHEST = 37.0


_NEVER = 9.0
