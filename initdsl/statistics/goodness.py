"""Whether numbers follow a distribution: moments, bounds and Kolmogorov-Smirnov, from pieces, in bounded memory.

Each test gives a p-value: how often numbers that do follow it would look at least so far off. `holm` says which of
many are too small together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from initdsl.initializers import Bernoulli, Constant, Distribution, Normal, TruncatedNormal, Uniform

from .measures import Moments, joined
from .moments import moments, real_parts

__all__ = ["Sample", "beyond", "cumulative", "holm", "kolmogorov", "two_samples"]


# equally likely bins that elements are counted in
BINS = 1 << 14


# the moments of an unknown distribution are compared from so many elements on
FEWEST = 30


# from so many elements on a mean of squares has the tails of a chi-squared
MANY = 300


# what a dtype's own generator or rounding may add to a distance between distributions
RESOLUTION = {
    torch.float16: 2.0**-10,
    torch.bfloat16: 2.0**-7,
    torch.float8_e4m3fn: 2.0**-3,
    torch.float8_e5m2: 2.0**-2,
}


# bits of a dtype's mantissa
MANTISSA = {torch.float16: 10, torch.bfloat16: 7, torch.float8_e4m3fn: 3, torch.float8_e5m2: 2}


# the exponent of a dtype's smallest subnormal number
SMALLEST = {torch.float16: -24, torch.bfloat16: -133, torch.float8_e4m3fn: -9, torch.float8_e5m2: -16}


@dataclass
class Sample:
    """Elements said to follow one distribution, summed up as they come.

    `odd` counts those that are neither of a Bernoulli's two values, `ups` those that are the higher one, `bins` how many
    elements fall into each of the equally likely parts of a continuous distribution.
    """

    distribution: Distribution
    dtype: torch.dtype
    moments: Moments = Moments()
    odd: int = 0
    ups: int = 0
    bins: torch.Tensor = field(default_factory=lambda: torch.zeros(BINS + 1, dtype=torch.int64))

    def add(self, values: torch.Tensor) -> None:
        """Count further elements."""
        x = real_parts(values).reshape(-1).to(torch.float64)
        self.moments = joined(self.moments, moments(x))
        if self.moments.other:
            x = x[torch.isfinite(x)]
        if isinstance(self.distribution, Bernoulli):
            high = x == _rounded(self.distribution.high, self.dtype)
            low = x == _rounded(self.distribution.low, self.dtype)
            self.ups += int(high.sum())
            self.odd += int((~(high | low)).sum())
        elif not isinstance(self.distribution, Constant) and self.distribution.std > 0:
            share = cumulative(self.distribution, self._spread(x))
            places = (share * BINS).ceil().clamp(0, BINS).to(torch.int64)
            self.bins += torch.bincount(places, minlength=BINS + 1)

    def _spread(self, x: torch.Tensor) -> torch.Tensor:
        """Put elements of a short dtype somewhere in what rounds to them, always the same place for the same element."""
        bits = MANTISSA.get(self.dtype)
        if bits is None:
            return x
        _, exponent = torch.frexp(x)
        step = torch.ldexp(torch.ones_like(x), (exponent - 1 - bits).clamp(min=SMALLEST[self.dtype]))
        generator = torch.Generator().manual_seed(self.moments.count)
        return x + (torch.rand(x.shape, dtype=torch.float64, generator=generator) - 0.5) * step

    # ---- what is known of the whole

    @property
    def distance(self) -> float:
        """Kolmogorov and Smirnov's: the farthest that the shares of elements below a number are apart."""
        if not self.moments.count:
            return 0.0
        share = self.bins.cumsum(0).to(torch.float64) / self.moments.count
        return float((share - torch.arange(BINS + 1, dtype=torch.float64) / BINS).abs().max())

    def outside(self) -> str | None:
        """Return what no element of the distribution can be, if there is such a one."""
        count, bounds = self.moments.count, self.distribution.bounds
        if self.moments.other:
            return f"{self.moments.other} of {count + self.moments.other} elements are not finite"
        if self.odd:
            return f"{self.odd} of {count} elements are neither {bounds[0]:g} nor {bounds[1]:g}"
        if not count:
            return None
        if self.moments.low < _rounded(bounds[0], self.dtype):
            return f"the smallest element is {self.moments.low:.6g}, below {bounds[0]:.6g}"
        if self.moments.high > _rounded(bounds[1], self.dtype):
            return f"the largest element is {self.moments.high:.6g}, above {bounds[1]:.6g}"
        return None

    def tests(self) -> dict[str, float]:
        """Return p-values by the name of the test."""
        n, sigma = self.moments.count, self.distribution.std
        if not n or not sigma or not math.isfinite(sigma):
            return {}
        if isinstance(self.distribution, Bernoulli):
            return {"share": _binomial(self.ups, n, self.distribution.p)}
        slack = RESOLUTION.get(self.dtype, 0.0)
        shift = self.moments.mean - self.distribution.mean
        p_values = {"mean": _two_sided(max(0.0, abs(shift) - slack * sigma) / (sigma / math.sqrt(n)))}
        if n > 1:
            ratio = (self.moments.std**2 + shift**2) / sigma**2
            ratio = 1 + math.copysign(max(0.0, abs(ratio - 1) - 2 * slack), ratio - 1)
            p_values["std"] = _spread_p_value(ratio, n, _kurtosis(self.distribution))
        p_values["distribution"] = kolmogorov(max(0.0, self.distance - slack), n)
        return p_values


def cumulative(distribution: Distribution, x: torch.Tensor) -> torch.Tensor:
    """Return the share of a continuous distribution that lies at or below each number."""
    match distribution:
        case Uniform(low, high):
            return ((x - low) / (high - low)).clamp(0, 1)
        case Normal(mean, std):
            below: torch.Tensor = torch.special.ndtr((x - mean) / std)
            return below
        case TruncatedNormal():
            alpha, beta = _standard_bounds(distribution)
            z = ((x - distribution.loc) / distribution.scale).clamp(alpha, beta)
            if alpha > 0:  # the mirrored tail keeps its digits
                far = torch.special.ndtr(torch.tensor(-alpha, dtype=torch.float64))
                share: torch.Tensor = (far - torch.special.ndtr(-z)) / distribution.mass
                return share.clamp(0, 1)
            near = torch.special.ndtr(torch.tensor(alpha, dtype=torch.float64))
            share = (torch.special.ndtr(z) - near) / distribution.mass
            return share.clamp(0, 1)
    raise TypeError(f"{type(distribution).__name__} has no density")


def _standard_bounds(distribution: TruncatedNormal) -> tuple[float, float]:
    """Return a truncated normal's bounds in standard deviations of what was truncated."""
    low, high = distribution.bounds
    return (low - distribution.loc) / distribution.scale, (high - distribution.loc) / distribution.scale


def _kurtosis(distribution: Distribution) -> float:
    """Return the fourth central moment over the squared variance."""
    if isinstance(distribution, Uniform):
        return 1.8
    if isinstance(distribution, TruncatedNormal):
        alpha, beta = _standard_bounds(distribution)
        z = torch.linspace(max(alpha, -12.0), min(beta, 12.0), 20001, dtype=torch.float64)
        weight = torch.exp(-0.5 * (z * z - float((z * z).min())))
        away = z - (distribution.mean - distribution.loc) / distribution.scale
        total = weight.sum()
        second, fourth = ((weight * away**k).sum() / total for k in (2, 4))
        return float(fourth / second**2)
    if isinstance(distribution, Normal):
        return 3.0
    raise TypeError(f"{type(distribution).__name__} has no density")


def _rounded(bound: float, dtype: torch.dtype) -> float:
    return float(torch.tensor(bound, dtype=torch.float64).to(dtype)) if math.isfinite(bound) else bound


def _spread_p_value(ratio: float, n: float, kurtosis: float) -> float:
    """Return how likely a mean of squares about the mean is that is `ratio` times the variance of what was drawn.

    It is laid on the scale of a chi-squared with the same variance. Few elements of a bounded distribution lie close together
    more often than that has it, but not more often than those of a normal one. Source: Wilson & Hilferty 1931.
    """
    if ratio < 1 and n < MANY:
        kurtosis = max(kurtosis, 3.0)
    spread = 2 / (9 * 2 * n / (kurtosis - 1))
    return _two_sided((max(ratio, 0.0) ** (1 / 3) - (1 - spread)) / math.sqrt(spread))


def _two_sided(z: float) -> float:
    return math.erfc(abs(z) / math.sqrt(2))


def _binomial(ups: int, n: int, p: float) -> float:
    """Return a two-sided p-value of `ups` out of `n`: exact for a few, the normal's with the continuity correction for many."""
    if p in (0.0, 1.0):
        return 1.0 if ups == n * p else 0.0
    if n > 1000:
        return _two_sided(max(0.0, abs(ups - n * p) - 0.5) / math.sqrt(n * p * (1 - p)))
    ways = (math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) for k in range(n + 1))
    chances = [math.exp(way + k * math.log(p) + (n - k) * math.log1p(-p)) for k, way in enumerate(ways)]
    return min(1.0, 2 * min(sum(chances[: ups + 1]), sum(chances[ups:])))


def kolmogorov(distance: float, n: float) -> float:
    """Return the p-value of a Kolmogorov-Smirnov distance between `n` elements and a distribution. Source: Stephens 1970."""
    root = math.sqrt(n)
    x: float = (root + 0.12 + 0.11 / root) * distance
    if x < 0.2:
        return 1.0
    terms = (2 * (-1) ** (k - 1) * math.exp(-2 * k * k * x * x) for k in range(1, 101))
    return min(1.0, max(0.0, math.fsum(terms)))


# values outside a reference that are counted: more of them are no better evidence
MOST_BEYOND = 1000


def two_samples(values: torch.Tensor, reference: torch.Tensor) -> dict[str, float]:
    """Return p-values of two samples having the same mean, standard deviation and distribution; float64, any shape.

    Sources: Welch 1947, Smirnov 1939.
    """
    a, b = (t.reshape(-1).sort().values for t in (values, reference))
    places = torch.cat([a, b])
    apart = torch.searchsorted(a, places, right=True) / len(a) - torch.searchsorted(b, places, right=True) / len(b)
    effective = len(a) * len(b) / (len(a) + len(b))
    p_values = {"distribution": kolmogorov(float(apart.abs().max()), effective)}
    centre, variance = b.mean(), b.var(correction=0)
    if len(a) < FEWEST or not float(variance):
        return p_values
    p_values["mean"] = _two_sided(float((a.mean() - centre) / (variance / effective).sqrt()))
    kurtosis = float(((b - centre) ** 4).mean() / variance**2)
    ratio = float(((a - centre) ** 2).mean() / variance)
    p_values["std"] = _spread_p_value(ratio, effective, max(kurtosis, 1 + 1e-9))
    return p_values


def beyond(values: torch.Tensor, reference: torch.Tensor) -> float:
    """Return the p-value of as many values lying outside those of a reference, if both are samples of one distribution.

    The most extreme of all are then as likely to be the one's as the other's, whatever the distribution is.
    """
    n, m = values.numel(), reference.numel()
    p_values = []
    for outside in (values < reference.min(), values > reference.max()):
        count = int(outside.sum())
        p_values.append(math.exp(math.fsum(math.log((n - i) / (n + m - i)) for i in range(min(count, MOST_BEYOND)))))
    return min(1.0, 2 * min(p_values))


def holm(p_values: Sequence[float], alpha: float) -> list[bool]:
    """Return which of many p-values are too small, with a chance of at most `alpha` that any is so by accident. Source: Holm 1979."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    rejected = [False] * len(p_values)
    for rank, i in enumerate(order):
        if p_values[i] > alpha / (len(p_values) - rank):
            break
        rejected[i] = True
    return rejected
