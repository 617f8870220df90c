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

__all__ = ["Sample", "holm", "mass_within", "std_within", "two_samples"]


# equally likely bins that elements are counted in
BINS = 1 << 14


# from so many elements on, the moments of an unknown distribution are compared
FEWEST = 30


# what a dtype's own generator or rounding may add to a distance between distributions
RESOLUTION = {
    torch.float16: 2.0**-10, torch.bfloat16: 2.0**-7, torch.float8_e4m3fn: 2.0**-3, torch.float8_e5m2: 2.0**-2,
}  # fmt: skip


MANTISSA = {torch.float16: 10, torch.bfloat16: 7, torch.float8_e4m3fn: 3, torch.float8_e5m2: 2}


SMALLEST = {torch.float16: -24, torch.bfloat16: -133, torch.float8_e4m3fn: -9, torch.float8_e5m2: -16}


@dataclass
class Sample:
    """Elements said to follow one distribution, summed up as they come."""

    what: Distribution
    dtype: torch.dtype
    count: int = 0
    total: float = 0.0
    squares: float = 0.0  # about the distribution's mean
    low: float = math.inf
    high: float = -math.inf
    bad: int = 0  # elements that are not finite
    odd: int = 0  # elements that are neither of a Bernoulli's two
    ups: int = 0
    bins: torch.Tensor = field(default_factory=lambda: torch.zeros(BINS + 1, dtype=torch.int64))

    def add(self, values: torch.Tensor) -> None:
        """Count further elements."""
        x = values.reshape(-1).to(torch.float64)
        finite = torch.isfinite(x)
        if not bool(finite.all()):
            self.bad += int((~finite).sum())
            x = x[finite]
        if not x.numel():
            return
        self.count += x.numel()
        self.low, self.high = min(self.low, float(x.min())), max(self.high, float(x.max()))
        away = x - self.what.mean
        self.total += float(away.sum())
        self.squares += float((away * away).sum())
        if isinstance(self.what, Bernoulli):
            high = x == float(torch.tensor(self.what.high, dtype=torch.float64).to(self.dtype))
            low = x == float(torch.tensor(self.what.low, dtype=torch.float64).to(self.dtype))
            self.ups += int(high.sum())
            self.odd += int((~(high | low)).sum())
        elif not isinstance(self.what, Constant) and self.what.std > 0:
            u = cumulative(self.what, self._spread(x))
            places = (u * BINS).ceil().clamp(0, BINS).to(torch.int64)
            self.bins += torch.bincount(places, minlength=BINS + 1)

    def _spread(self, x: torch.Tensor) -> torch.Tensor:
        """Elements of a short dtype somewhere in what rounds to them, always the same place for the same element."""
        bits = MANTISSA.get(self.dtype)
        if bits is None:
            return x
        _, exponent = torch.frexp(x)
        step = torch.ldexp(torch.ones_like(x), (exponent - 1 - bits).clamp(min=SMALLEST[self.dtype]))
        generator = torch.Generator().manual_seed(self.count)
        return x + (torch.rand(x.shape, dtype=torch.float64, generator=generator) - 0.5) * step

    # ---- what is known of the whole

    @property
    def mean(self) -> float:
        return self.what.mean + self.total / self.count if self.count else math.nan

    @property
    def std(self) -> float:
        """The population's standard deviation."""
        if not self.count:
            return math.nan
        return math.sqrt(max(0.0, self.squares / self.count - (self.total / self.count) ** 2))

    @property
    def distance(self) -> float:
        """Kolmogorov and Smirnov's: the farthest that the shares of elements below a number are apart."""
        if not self.count:
            return 0.0
        share = self.bins.cumsum(0).to(torch.float64) / self.count
        return float((share - torch.arange(BINS + 1, dtype=torch.float64) / BINS).abs().max())

    def outside(self) -> str | None:
        """What no element of the distribution can be, if there is such a one."""
        if self.bad:
            return f"{self.bad} of {self.count + self.bad} elements are not finite"
        if self.odd:
            return (
                f"{self.odd} of {self.count} elements are neither {self.what.bounds[0]:g} nor {self.what.bounds[1]:g}"
            )
        if not self.count:
            return None
        low, high = (_rounded(bound, self.dtype) for bound in self.what.bounds)
        if self.low < low:
            return f"the smallest element is {self.low:.6g}, below {self.what.bounds[0]:.6g}"
        if self.high > high:
            return f"the largest element is {self.high:.6g}, above {self.what.bounds[1]:.6g}"
        return None

    def tests(self) -> dict[str, float]:
        """p-values by the name of the test."""
        n, sigma = self.count, self.what.std
        if not n or not sigma or not math.isfinite(sigma):
            return {}
        if isinstance(self.what, Bernoulli):
            return {"share": _binomial(self.ups, n, self.what.p)}
        slack = RESOLUTION.get(self.dtype, 0.0)
        shift = max(0.0, abs(self.total / n) - slack * sigma)
        found = {"mean": _two_sided(shift / (sigma / math.sqrt(n)))}
        if n > 1:
            # the sum of squares about the mean, on the scale of a chi-squared with the same variance; Wilson & Hilferty
            ratio = self.squares / n / sigma**2
            ratio = 1 + math.copysign(max(0.0, abs(ratio - 1) - 2 * slack), ratio - 1)
            freedom = 2 * n / (_kurtosis(self.what) - 1)
            spread = 2 / (9 * freedom)
            found["std"] = _two_sided((max(ratio, 0.0) ** (1 / 3) - (1 - spread)) / math.sqrt(spread))
        found["distribution"] = kolmogorov(max(0.0, self.distance - slack), n)
        return found


def cumulative(what: Distribution, x: torch.Tensor) -> torch.Tensor:
    """The share of a continuous distribution that lies at or below each number."""
    match what:
        case Uniform():
            return ((x - what.low) / (what.high - what.low)).clamp(0, 1)
        case Normal():
            below: torch.Tensor = torch.special.ndtr((x - what.mean) / what.std)
            return below
        case TruncatedNormal():
            alpha, beta = (what.low - what.loc) / what.scale, (what.high - what.loc) / what.scale
            z = ((x - what.loc) / what.scale).clamp(alpha, beta)
            if alpha > 0:  # the mirrored tail keeps its digits
                far = torch.special.ndtr(torch.tensor(-alpha, dtype=torch.float64))
                share: torch.Tensor = (far - torch.special.ndtr(-z)) / what.mass
                return share.clamp(0, 1)
            near = torch.special.ndtr(torch.tensor(alpha, dtype=torch.float64))
            share = (torch.special.ndtr(z) - near) / what.mass
            return share.clamp(0, 1)
    raise TypeError(f"{type(what).__name__} has no density")


def _kurtosis(what: Distribution) -> float:
    """The fourth central moment over the squared variance."""
    if isinstance(what, Uniform):
        return 1.8
    if isinstance(what, TruncatedNormal):
        alpha, beta = (what.low - what.loc) / what.scale, (what.high - what.loc) / what.scale
        z = torch.linspace(max(alpha, -12.0), min(beta, 12.0), 20001, dtype=torch.float64)
        weight = torch.exp(-0.5 * (z * z - float((z * z).min())))
        away = z - (what.mean - what.loc) / what.scale
        total = weight.sum()
        second, fourth = ((weight * away**k).sum() / total for k in (2, 4))
        return float(fourth / second**2)
    return 3.0


def _rounded(bound: float, dtype: torch.dtype) -> float:
    return float(torch.tensor(bound, dtype=torch.float64).to(dtype)) if math.isfinite(bound) else bound


def _two_sided(z: float) -> float:
    return math.erfc(abs(z) / math.sqrt(2))


def _binomial(ups: int, n: int, p: float) -> float:
    """A two-sided p-value of `ups` out of `n`: exact for a few, the normal's with the continuity correction for many."""
    if p in (0.0, 1.0):
        return 1.0 if ups == n * p else 0.0
    if n > 1000:
        return _two_sided(max(0.0, abs(ups - n * p) - 0.5) / math.sqrt(n * p * (1 - p)))
    ways = (math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) for k in range(n + 1))
    chances = [math.exp(way + k * math.log(p) + (n - k) * math.log1p(-p)) for k, way in enumerate(ways)]
    return min(1.0, 2 * min(sum(chances[: ups + 1]), sum(chances[ups:])))


def kolmogorov(distance: float, n: float) -> float:
    """The p-value of a Kolmogorov-Smirnov distance between `n` elements and a distribution. Source: Stephens 1970."""
    root = math.sqrt(n)
    x: float = (root + 0.12 + 0.11 / root) * distance
    if x < 0.2:
        return 1.0
    terms = (2 * (-1) ** (k - 1) * math.exp(-2 * k * k * x * x) for k in range(1, 101))
    return min(1.0, max(0.0, math.fsum(terms)))


def two_samples(values: torch.Tensor, reference: torch.Tensor) -> dict[str, float]:
    """p-values of two samples having the same mean, standard deviation and distribution; float64, any shape.

    Sources: Welch 1947, Smirnov 1939.
    """
    a, b = (t.reshape(-1).sort().values for t in (values, reference))
    places = torch.cat([a, b])
    at = torch.searchsorted(a, places, right=True) / len(a) - torch.searchsorted(b, places, right=True) / len(b)
    effective = len(a) * len(b) / (len(a) + len(b))
    found = {"distribution": kolmogorov(float(at.abs().max()), effective)}
    centre, variance = b.mean(), b.var(correction=0)
    if len(a) < FEWEST or not float(variance):
        return found
    found["mean"] = _two_sided(float((a.mean() - centre) / (variance / effective).sqrt()))
    away = (b - centre) ** 2
    kurtosis = float((away**2).mean() / variance**2)
    spread = 2 / (9 * 2 * effective / max(kurtosis - 1, 1e-9))
    ratio = float(((a - centre) ** 2).mean() / variance)
    found["std"] = _two_sided((ratio ** (1 / 3) - (1 - spread)) / math.sqrt(spread))
    return found


def holm(p_values: Sequence[float], alpha: float) -> list[bool]:
    """Which of many p-values are too small, with a chance of at most `alpha` that any is so by accident. Source: Holm 1979."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    rejected = [False] * len(p_values)
    for rank, i in enumerate(order):
        if p_values[i] > alpha / (len(p_values) - rank):
            break
        rejected[i] = True
    return rejected


def mass_within(cut: float) -> float:
    """The share of a normal within `cut` standard deviations."""
    return math.erf(cut / math.sqrt(2))


def std_within(cut: float) -> float:
    """The standard deviation of a standard normal kept within `cut`."""
    density = math.exp(-cut * cut / 2) / math.sqrt(2 * math.pi)
    return math.sqrt(1 - 2 * cut * density / mass_within(cut))
