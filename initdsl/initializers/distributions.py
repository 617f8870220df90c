"""The distributions an element-wise initializer can ask for: values, and what is known of them before a draw.

Every element of a tensor filled from one of these is independent of the others, so a distribution and a stream of
uniform numbers are all that is needed to compute any element alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from initdsl.text.wording import number

__all__ = ["Bernoulli", "Constant", "Distribution", "Normal", "Random", "TruncatedNormal", "Uniform", "of_part"]


def _density(x: float) -> float:
    return math.exp(-0.5 * x * x) / math.sqrt(2 * math.pi) if math.isfinite(x) else 0.0


def _cumulative(x: float) -> float:
    return 0.5 * math.erfc(-x / math.sqrt(2))


@dataclass(frozen=True, slots=True)
class Constant:
    """All elements equal to `value`."""

    kind: ClassVar[str] = "constant"
    value: float

    @property
    def mean(self) -> float:
        return self.value

    @property
    def std(self) -> float:
        return 0.0

    @property
    def bounds(self) -> tuple[float, float]:
        return (self.value, self.value)

    def __str__(self) -> str:
        return number(self.value)


@dataclass(frozen=True, slots=True)
class Uniform:
    """Uniform on `[low, high)`."""

    kind: ClassVar[str] = "uniform"
    low: float
    high: float

    @property
    def mean(self) -> float:
        return (self.low + self.high) / 2

    @property
    def std(self) -> float:
        return (self.high - self.low) / math.sqrt(12)

    @property
    def bounds(self) -> tuple[float, float]:
        return (self.low, self.high)

    def __str__(self) -> str:
        return f"uniform({number(self.low)}, {number(self.high)})"


@dataclass(frozen=True, slots=True)
class Normal:
    """Normal with the given mean and standard deviation."""

    kind: ClassVar[str] = "normal"
    mean: float
    std: float

    @property
    def bounds(self) -> tuple[float, float]:
        return (-math.inf, math.inf)

    def __str__(self) -> str:
        return f"normal({number(self.mean)}, {number(self.std)})"


@dataclass(frozen=True, slots=True)
class TruncatedNormal:
    """Normal with location `loc` and scale `scale`, conditioned on `[low, high]` (absolute bounds).

    `mean` and `std` are those of the truncated distribution.
    """

    kind: ClassVar[str] = "truncated_normal"
    loc: float
    scale: float
    low: float
    high: float

    @property
    def _standard_bounds(self) -> tuple[float, float]:
        return (self.low - self.loc) / self.scale, (self.high - self.loc) / self.scale

    @property
    def mass(self) -> float:
        """The probability the untruncated normal gives to `[low, high]`."""
        alpha, beta = self._standard_bounds
        if alpha > 0:  # the mirrored tail keeps its digits
            alpha, beta = -beta, -alpha
        return _cumulative(beta) - _cumulative(alpha)

    @property
    def mean(self) -> float:
        alpha, beta = self._standard_bounds
        return self.loc + self.scale * (_density(alpha) - _density(beta)) / self.mass

    @property
    def std(self) -> float:
        alpha, beta = self._standard_bounds
        edge = (alpha * _density(alpha) if math.isfinite(alpha) else 0.0) - (
            beta * _density(beta) if math.isfinite(beta) else 0.0
        )
        shift = (_density(alpha) - _density(beta)) / self.mass
        return self.scale * math.sqrt(max(0.0, 1 + edge / self.mass - shift * shift))

    @property
    def bounds(self) -> tuple[float, float]:
        return (self.low, self.high)

    def __str__(self) -> str:
        return f"trunc_normal({number(self.loc)}, {number(self.scale)}, {number(self.low)}, {number(self.high)})"


@dataclass(frozen=True, slots=True)
class Bernoulli:
    """`high` with probability `p`, else `low`."""

    kind: ClassVar[str] = "bernoulli"
    p: float
    low: float = 0.0
    high: float = 1.0

    @property
    def mean(self) -> float:
        return self.low + (self.high - self.low) * self.p

    @property
    def std(self) -> float:
        return abs(self.high - self.low) * math.sqrt(self.p * (1 - self.p))

    @property
    def bounds(self) -> tuple[float, float]:
        return (min(self.low, self.high), max(self.low, self.high))

    def __str__(self) -> str:
        if (self.low, self.high) == (0, 1):
            return f"bernoulli({number(self.p)})"
        if self.p == 0.5 and self.low == -self.high:
            return f"rademacher({number(self.high)})"
        return f"bernoulli({number(self.p)}, {number(self.low)}, {number(self.high)})"


Random = Uniform | Normal | TruncatedNormal | Bernoulli

Distribution = Constant | Random


def of_part(distribution: Distribution) -> Distribution:
    """Return what each of the parts of a complex element follows: torch draws both, a normal's with half of its variance."""
    if isinstance(distribution, Normal):
        return Normal(distribution.mean, distribution.std / math.sqrt(2))
    return distribution
