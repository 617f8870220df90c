"""What is in tensors: moments, bounds and histograms, in bounded memory. Reads only."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

__all__ = ["Measure", "chunks", "mean_and_std", "measure", "moments", "pooled"]


# elements looked at at a time
CHUNK = 1 << 22


BINS = 25


# elements a histogram counts at most, evenly spaced
MOST_COUNTED = 1 << 18


def measure(tensor: torch.Tensor, bins: int = BINS, histogram: bool = True) -> Measure:
    """Moments, bounds and a histogram of a real tensor's finite elements; the standard deviation is the population's."""
    count, other, mean, square = 0, 0, 0.0, 0.0
    low, high = math.inf, -math.inf
    for chunk in chunks(tensor):
        values = chunk.double()
        finite = torch.isfinite(values)
        if not bool(finite.all()):
            values = values[finite]
            other += chunk.numel() - values.numel()
        n = values.numel()
        if not n:
            continue
        least, most = torch.aminmax(values)
        variance, centre = torch.var_mean(values, correction=0)
        low, high = min(low, float(least)), max(high, float(most))
        # Chan, Golub & LeVeque 1983: moments of parts to those of the whole
        shift = float(centre) - mean
        square += float(variance) * n + shift**2 * count * n / (count + n)
        mean += shift * n / (count + n)
        count += n
    if not count:
        return Measure(0, math.nan, math.nan, math.nan, math.nan, other)
    std = math.sqrt(square / count)
    if not histogram or low == high or not math.isfinite(high - low):
        return Measure(count, mean, std, low, high, other, (std, std), (), (low, high))
    flat = tensor.reshape(-1)[:: -(-tensor.numel() // MOST_COUNTED)].to("cpu", torch.float64)
    counts = torch.histc(flat[torch.isfinite(flat)], bins, low, high)
    return Measure(count, mean, std, low, high, other, (std, std), tuple(map(int, counts.tolist())), (low, high))


def chunks(tensor: torch.Tensor) -> Iterator[torch.Tensor]:
    """The elements of a tensor, some at a time, in the CPU's memory."""
    flat = tensor.reshape(-1)
    for start in range(0, flat.numel(), CHUNK):
        yield flat[start : start + CHUNK].cpu()


# ---- numbers


def moments(values: torch.Tensor) -> tuple[float, float, float, int]:
    """Mean, standard deviation and root mean square of all finite elements, and the number of the others."""
    with torch.no_grad():
        # float32 holds no squares of numbers above 1e19: exploding networks have those
        work = values.reshape(-1).to(torch.float64 if values.device.type != "mps" else torch.float32)
        finite = torch.isfinite(work)
        if not bool(finite.all()):
            left = work[finite]
            other = work.numel() - left.numel()
            work = left
        else:
            other = 0
        if not work.numel():
            return math.nan, math.nan, math.nan, other
        variance, mean = torch.var_mean(work, correction=0)
        m, v = float(mean), float(variance)
        return m, math.sqrt(v), math.sqrt(v + m * m), other


@dataclass(frozen=True)
class Measure:
    """What was found in a tensor, or in several alike: moments and bounds of `count` finite elements, of which
    `histogram` are the counts in equal bins between `low` and `high` (empty: not counted).

    `stds` are the smallest and largest standard deviation of the tensors; `other` elements are not finite.
    """

    count: int
    mean: float
    std: float
    low: float
    high: float
    other: int = 0
    stds: tuple[float, float] = (0.0, 0.0)
    histogram: tuple[int, ...] = ()
    edges: tuple[float, float] = (0.0, 0.0)


def pooled(measures: Sequence[Measure | None]) -> Measure | None:
    """The measure of all elements together. Histograms are drawn over the widest of the ranges."""
    found = [m for m in measures if m is not None]
    if not found or len(found) < len(measures):
        return None
    count = sum(m.count for m in found)
    other = sum(m.other for m in found)
    if not count:
        return Measure(0, math.nan, math.nan, math.nan, math.nan, other)
    some = [m for m in found if m.count]
    mean = math.fsum(m.mean * m.count for m in some) / count
    square = math.fsum((m.std**2 + (m.mean - mean) ** 2) * m.count for m in some) / count
    low, high = min(m.low for m in some), max(m.high for m in some)
    edges = (min(m.edges[0] for m in some), max(m.edges[1] for m in some))
    counted = [m for m in some if m.histogram]
    histogram = _rebinned(counted, edges) if counted else ()
    stds = (min(m.stds[0] for m in some), max(m.stds[1] for m in some))
    return Measure(count, mean, math.sqrt(square), low, high, other, stds, histogram, edges)


def _rebinned(measures: Sequence[Measure], edges: tuple[float, float]) -> tuple[int, ...]:
    """Histograms of several ranges as one over `edges`, each bin's count spread evenly over its width."""
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


def mean_and_std(total: float, squares: float, count: int) -> dict[str, float]:
    if not count:
        return {}
    mean = total / count
    return {"mean": mean, "std": math.sqrt(max(0.0, squares / count - mean * mean))}
