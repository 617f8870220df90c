"""What was found in tensors, as values: moments, bounds and histograms. No torch is needed to show them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

__all__ = ["Measure", "Moments", "joined", "pooled"]


@dataclass(frozen=True)
class Moments:
    """What is known of numbers without keeping them: `Moments(count=4, mean=2.5, std=1.118, low=1.0, high=4.0)`.

    All but `other` speak of the `count` finite elements, `std` is the population's; without any they are nan. `other`
    counts the elements that are not finite.
    """

    count: int = 0
    mean: float = math.nan
    std: float = math.nan
    low: float = math.nan
    high: float = math.nan
    other: int = 0

    @property
    def rms(self) -> float:
        """The root mean square."""
        return math.hypot(self.mean, self.std)


@dataclass(frozen=True)
class Measure(Moments):
    """The moments of a tensor, or of several alike, and a histogram: counts in equal bins between two edges.

    `stds` are the smallest and the largest standard deviation of the tensors; `histogram` is empty where none was drawn.
    """

    stds: tuple[float, float] = (0.0, 0.0)
    histogram: tuple[int, ...] = ()
    edges: tuple[float, float] = (0.0, 0.0)


def joined(one: Moments, two: Moments) -> Moments:
    """Return the moments of the elements of both. Source: Chan, Golub & LeVeque 1983."""
    other = one.other + two.other
    if not one.count or not two.count:
        some = one if one.count else two
        return Moments(some.count, some.mean, some.std, some.low, some.high, other)
    count = one.count + two.count
    shift = two.mean - one.mean
    squares = one.std**2 * one.count + two.std**2 * two.count + shift**2 * one.count * two.count / count
    return Moments(
        count,
        one.mean + shift * two.count / count,
        math.sqrt(squares / count),
        min(one.low, two.low),
        max(one.high, two.high),
        other,
    )


def pooled(measures: Sequence[Measure | None]) -> Measure | None:
    """Return the measure of all elements together, over the widest of the ranges; None where one was not measured."""
    known = [m for m in measures if m is not None]
    if not known or len(known) < len(measures):
        return None
    total = Moments()
    for one in known:
        total = joined(total, one)
    some = [m for m in known if m.count]
    if not some:
        return Measure(**asdict(total))
    edges = (min(m.edges[0] for m in some), max(m.edges[1] for m in some))
    counted = [m for m in some if m.histogram]
    return Measure(
        **asdict(total),
        stds=(min(m.stds[0] for m in some), max(m.stds[1] for m in some)),
        histogram=_rebinned(counted, edges) if counted else (),
        edges=edges,
    )


def _rebinned(measures: Sequence[Measure], edges: tuple[float, float]) -> tuple[int, ...]:
    """Return histograms of several ranges as one over `edges`, each bin's count spread evenly over its width."""
    bins = len(measures[0].histogram)
    low, width = edges[0], edges[1] - edges[0]
    counts = [0.0] * bins
    for m in measures:
        if not width or m.edges == edges:
            counts = [a + b for a, b in zip(counts, m.histogram, strict=True)]
            continue
        step = (m.edges[1] - m.edges[0]) / bins
        for i, n in enumerate(m.histogram):
            if not n:
                continue
            begin = (m.edges[0] + i * step - low) / width * bins
            end = begin + step / width * bins
            first, last = min(bins - 1, int(begin)), min(bins - 1, max(int(begin), math.ceil(end) - 1))
            for j in range(first, last + 1):
                share = (min(end, j + 1) - max(begin, j)) / (end - begin) if end > begin else 1.0
                counts[j] += n * max(0.0, share)
    return tuple(round(n) for n in counts)
