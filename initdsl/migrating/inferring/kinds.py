"""Which kind of distribution numbers follow, and how wide it is.

A kind is one of `normal`, `uniform`, and `trunc2` and `trunc3`: normals cut at two or three standard deviations.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from initdsl.initializers import Distribution, Normal, TruncatedNormal, Uniform
from initdsl.statistics.goodness import Sample
from initdsl.text.wording import number

from .sampling import Drawn

__all__ = ["STANDARD", "WORST", "confidence", "follows", "is_off_centre", "kind_of", "round_text", "scale_of"]


# the standard normal that each kind is of, or is cut from
STANDARD: dict[str, Normal | TruncatedNormal] = {
    "normal": Normal(0.0, 1.0),
    "trunc2": TruncatedNormal(0.0, 1.0, -2.0, 2.0),
    "trunc3": TruncatedNormal(0.0, 1.0, -3.0, 3.0),
}


# nats by which a rarer kind must lead
RARER = {"trunc2": 3.0, "trunc3": 6.0}


KURTOSIS = {"normal": 3.0, "uniform": 1.8, "trunc2": 2.37, "trunc3": 2.84}


# standard errors a scale may be off
WORST = 4.5


# the smallest relative error a scale is measured to: float32's rounding
FINEST = 2e-6


# Kolmogorov-Smirnov distances over `1 / sqrt(n)` from which numbers follow another distribution
FARTHEST = 2.3


# the fewest elements whose distribution is looked at
FEWEST = 30


def kind_of(members: Sequence[Drawn]) -> tuple[str, float]:
    """Return the most likely kind of a group, and by how much (in nats) it leads."""
    likelihood = {kind: -RARER.get(kind, 0.0) for kind in KURTOSIS}
    for m in members:
        for kind in likelihood:
            likelihood[kind] += _likelihood(kind, m)
    first, second = sorted(likelihood.values(), reverse=True)[:2]
    return max(likelihood, key=likelihood.__getitem__), first - second


def _likelihood(kind: str, m: Drawn) -> float:
    """Return the logarithm of how likely a kind is, with the scale that makes it likeliest."""
    if kind == "uniform":
        return -m.count * math.log(max(m.high - m.low, 1e-30))
    standard, spread = STANDARD[kind], max(m.std, 1e-30)
    scale, mass = spread, 1.0
    if isinstance(standard, TruncatedNormal):
        reach = max(m.high - m.mean, m.mean - m.low)
        scale, mass = max(reach / standard.high, spread / standard.std), standard.mass
    return -m.count * (math.log(scale) + math.log(2 * math.pi) / 2 + (spread / scale) ** 2 / 2 + math.log(mass))


def follows(kind: str, members: Sequence[Drawn]) -> bool:
    """Return whether the elements of each tensor, at its own scale, follow a kind: by their Kolmogorov-Smirnov distance."""
    for m in members:
        if m.count < FEWEST or m.std == 0:
            continue
        sample = Sample(_fitted(kind, m), torch.float64)
        sample.add(m.some)
        if sample.distance * math.sqrt(sample.moments.count) > FARTHEST:
            return False
    return True


def _fitted(kind: str, m: Drawn) -> Distribution:
    """Return the distribution of a kind that has a tensor's extremes, or its mean and standard deviation."""
    if kind == "uniform":
        return Uniform(m.low, m.high)
    standard = STANDARD[kind]
    scale = m.std / standard.std
    if isinstance(standard, TruncatedNormal):
        return TruncatedNormal(m.mean, scale, m.mean + scale * standard.low, m.mean + scale * standard.high)
    return Normal(m.mean, scale)


def scale_of(kind: str, m: Drawn) -> tuple[float, float]:
    """Return the measured parameter of a kind (bound of a uniform, `std` of a normal) and its relative standard error."""
    if kind == "uniform":
        reach = (m.high - m.low) / 2 if is_off_centre(m) else m.reach
        return reach * (1 + 1 / (m.count + 1)), max(1.5 / m.count, FINEST)
    error = math.sqrt((KURTOSIS[kind] - 1) / (4 * m.count))
    return m.std / STANDARD[kind].std, max(error, FINEST)


def is_off_centre(m: Drawn) -> bool:
    """Return whether the mean is not zero."""
    return abs(m.mean) > WORST * m.std / math.sqrt(m.count)


def confidence(error: float, lead: float, doubtful: bool) -> str:
    """Return how sure a rule is, by the precision of its scale and how far the next kind of distribution is behind."""
    if error > 0.05 or lead < 2:
        return "guess"
    return "likely" if doubtful or lead < 5 else "sure"


def round_text(value: float, slack: float) -> str:
    """Return the roundest number that is as near as `slack`."""
    for decimals in range(-6, 12):
        rounded = round(value, decimals)
        if abs(rounded - value) <= slack:
            return number(rounded)
    return number(value)
