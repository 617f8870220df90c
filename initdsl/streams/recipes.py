"""How the lanes of a stream become the values of a distribution: its parameters in the precision of the computation."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from initdsl.initializers.distributions import Bernoulli, Distribution, Normal, TruncatedNormal, Uniform

__all__ = ["Affine", "Choice", "Quantile", "Recipe", "recipe_of"]


class Affine(NamedTuple):
    """Uniform values: `position * step + middle`, held in `[low, high]`."""

    step: float
    middle: float
    low: float
    high: float


class Quantile(NamedTuple):
    """Normal values: `quantile * scale + loc`, held in `[low, high]`, of a standard normal cut to `[alpha, beta]`.

    The standard normal alone: the tables that fill it are kept by `alpha` and `beta`.
    """

    loc: float
    scale: float
    low: float
    high: float
    alpha: float
    beta: float


class Choice(NamedTuple):
    """One of two values: `high` in lanes up to `last`, else `low`."""

    last: int
    low: float
    high: float


Recipe = Affine | Quantile | Choice


# In scales from the location: no truncated normal lies farther out than the first, no float32 position than the second.
_FARTHEST = 37.0
_NEVER = 9.0


@lru_cache(maxsize=1024)
def recipe_of(distribution: Distribution, dtype: torch.dtype) -> Recipe:
    """Return how a tensor of this dtype is filled; raises ValueError for parameters that no distribution has."""
    match distribution:
        case Uniform(low, high):
            return _uniform(float(low), float(high), dtype)
        case Bernoulli(p, low, high):
            return _choice(float(p), float(low), float(high), distribution)
        case Normal(mean, std):
            loc, scale = _location(float(mean), float(std))
            return Quantile(loc, scale, -math.inf, math.inf, -math.inf, math.inf)
        case TruncatedNormal():
            return _truncated(distribution, dtype)
        case _:
            raise TypeError(f"{type(distribution).__name__} is no element-wise distribution")


def _uniform(low: float, high: float, dtype: torch.dtype) -> Affine:
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise ValueError(f"uniform needs finite bounds with low at most high, not {low} and {high}")
    bits = 64 if dtype == torch.float64 else 32
    step, middle = math.ldexp(high, -bits) - math.ldexp(low, -bits), low / 2 + high / 2
    return Affine(_rounded(step, dtype), _rounded(middle, dtype), *_inside(low, high, dtype, open_above=True))


def _choice(p: float, low: float, high: float, distribution: Bernoulli) -> Choice:
    if not (0 <= p <= 1 and math.isfinite(low) and math.isfinite(high)):
        raise ValueError(f"a choice needs a probability between 0 and 1 and two finite values, not {distribution}")
    return Choice(round(p * 2**32) - 2**31 - 1, low, high)


def _truncated(distribution: TruncatedNormal, dtype: torch.dtype) -> Quantile:
    low, high = float(distribution.low), float(distribution.high)
    if math.isnan(low) or math.isnan(high) or not low < high:
        raise ValueError(f"a truncated normal needs low less than high, not {low} and {high}")
    loc, scale = _location(float(distribution.loc), float(distribution.scale))
    if scale == 0:
        raise ValueError("a truncated normal needs a scale greater than 0")
    alpha, beta = (low - loc) / scale, (high - loc) / scale
    if min(abs(alpha), abs(beta)) > _FARTHEST and (alpha > 0) == (beta > 0):
        raise ValueError(f"the bounds of a truncated normal are more than {_FARTHEST} scales from its location")
    if dtype != torch.float64 and alpha <= 0 <= beta:
        # What lies farther out has less than 2**-62 of the mass.
        alpha, beta = (-math.inf if alpha < -_NEVER else alpha), (math.inf if beta > _NEVER else beta)
    return Quantile(loc, scale, *_inside(low, high, dtype, open_above=False), alpha, beta)


def _location(loc: float, scale: float) -> tuple[float, float]:
    """Return location and scale of a normal; refuse what is not finite or negative."""
    if not (math.isfinite(loc) and math.isfinite(scale) and scale >= 0):
        raise ValueError(f"a normal needs a finite mean and a finite std of at least 0, not {loc} and {scale}")
    return loc, scale


# ------------------------------------------------------------------------------------------------- numbers of a dtype


def _rounded(value: float, dtype: torch.dtype) -> float:
    """Return a parameter in the precision that values are computed in."""
    return value if dtype == torch.float64 else float(_scalar(value).to(torch.float32))


def _scalar(value: float) -> Tensor:
    """Return a number as a tensor on the CPU, whatever torch's default device is."""
    return torch.tensor(value, dtype=torch.float64, device="cpu")


def _inside(low: float, high: float, dtype: torch.dtype, open_above: bool) -> tuple[float, float]:
    """Return the smallest and the largest number of `dtype` in an interval; where there is none, the nearest twice."""
    if dtype == torch.float64 and not open_above:
        return low, high
    bottom, top = _scalar(low).to(dtype), _scalar(high).to(dtype)
    while float(bottom) < low:
        bottom = _next(bottom, up=True)
    while float(top) > high or (open_above and float(top) == high and low < high):
        top = _next(top, up=False)
    if float(bottom) > float(top):
        nearest = float(_scalar(low).to(dtype))
        return nearest, nearest
    return float(bottom), float(top)


def _next(number: Tensor, up: bool) -> Tensor:
    """Return the neighbour of a number in its dtype."""
    integer = {2: torch.int16, 4: torch.int32, 8: torch.int64}[number.dtype.itemsize]
    if float(number) == 0:
        smallest = torch.tensor(1, dtype=integer, device="cpu").view(number.dtype)
        return smallest if up else -smallest
    bits = int(number.view(integer)) + (1 if (float(number) > 0) == up else -1)
    return torch.tensor(bits, dtype=integer, device="cpu").view(number.dtype)
