"""How the lanes of a stream become the values of a distribution: its parameters in the precision of the computation."""

from __future__ import annotations

import math
import struct
from functools import lru_cache
from typing import NamedTuple

import torch

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


# How the bits of a number are read: as a float, and as a signed integer. bfloat16 is the upper half of float32.
_PACKED = {torch.float64: ("<d", "<q"), torch.float32: ("<f", "<i"), torch.float16: ("<e", "<h"), torch.bfloat16: ("<f", "<i")}  # fmt: skip


def _rounded(value: float, dtype: torch.dtype) -> float:
    """Return a parameter in the precision that values are computed in."""
    return value if dtype == torch.float64 else _nearest(value, torch.float32)


def _nearest(value: float, dtype: torch.dtype) -> float:
    """Return a number rounded to a dtype, as torch rounds float64: to a half type by way of float32."""
    if dtype == torch.float64:
        return value
    if dtype != torch.float32:
        value = _nearest(value, torch.float32)
    if dtype == torch.bfloat16:
        bits = _bits(value, dtype)
        return _of_bits((bits + 0x7FFF + (bits >> 16 & 1)) & ~0xFFFF, dtype)
    try:
        return float(struct.unpack(_PACKED[dtype][0], struct.pack(_PACKED[dtype][0], value))[0])
    except OverflowError:
        return math.copysign(math.inf, value)


def _inside(low: float, high: float, dtype: torch.dtype, open_above: bool) -> tuple[float, float]:
    """Return the smallest and the largest number of `dtype` in an interval; where there is none, the nearest twice."""
    if dtype == torch.float64 and not open_above:
        return low, high
    bottom, top = _nearest(low, dtype), _nearest(high, dtype)
    while bottom < low:
        bottom = _next(bottom, dtype, up=True)
    while top > high or (open_above and top == high and low < high):
        top = _next(top, dtype, up=False)
    if bottom > top:
        bottom = top = _nearest(low, dtype)
    return bottom, top


def _next(number: float, dtype: torch.dtype, up: bool) -> float:
    """Return the neighbour of a number in its dtype."""
    step = 1 << 16 if dtype == torch.bfloat16 else 1
    if number == 0:
        return _of_bits(step, dtype) if up else -_of_bits(step, dtype)
    return _of_bits(_bits(number, dtype) + (step if (number > 0) == up else -step), dtype)


def _bits(number: float, dtype: torch.dtype) -> int:
    as_float, as_integer = _PACKED[dtype]
    return int(struct.unpack(as_integer, struct.pack(as_float, number))[0])


def _of_bits(bits: int, dtype: torch.dtype) -> float:
    as_float, as_integer = _PACKED[dtype]
    return float(struct.unpack(as_float, struct.pack(as_integer, bits))[0])
