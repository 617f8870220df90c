"""Kolmogorov-Smirnov distance and moments of the element-wise distributions, at a size for running by hand.

python benchmarks/quality/distributions.py [COUNT]        (default 100000000; needs scipy, 8 bytes an element)
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from scipy import special, stats

from initdsl import streams
from initdsl.initializers.distributions import Distribution, Normal, TruncatedNormal, Uniform

CHUNK = 1 << 22


def cumulative(distribution: Distribution, x: np.ndarray) -> np.ndarray:
    """The distribution function, from scipy."""
    if isinstance(distribution, Uniform):
        return (x - distribution.low) / (distribution.high - distribution.low)
    if isinstance(distribution, Normal):
        return special.ndtr((x - distribution.mean) / distribution.std)
    low, high = ((edge - distribution.loc) / distribution.scale for edge in distribution.bounds)
    return stats.truncnorm.cdf(x, low, high, distribution.loc, distribution.scale)


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10**8
    print(f"{count} elements, stream of seed 0, name `weight`")
    print("| distribution | D | p of Kolmogorov-Smirnov | mean, in its standard errors | variance, likewise |")
    print("|---|---|---|---|---|")
    for distribution in (Uniform(-1, 1), Normal(0, 1), Normal(0.5, 0.02), TruncatedNormal(0, 1, -2, 2)):
        values = torch.empty(count)
        streams.fill(values, distribution, streams.key(0, "weight"))
        values = values.sort().values
        distance, sums = 0.0, np.zeros(3)
        for start in range(0, count, CHUNK):
            x = values[start : start + CHUNK].double().numpy()
            f = cumulative(distribution, x)
            rank = np.arange(start, start + len(x))
            distance = max(distance, float((f - rank / count).max()), float(((rank + 1) / count - f).max()))
            z = (x - distribution.mean) / distribution.std
            sums += z.sum(), (z * z).sum(), (z**4).sum()
        mean, square, fourth = sums / count
        p = stats.kstwobign.sf(distance * np.sqrt(count))
        spread = np.sqrt((fourth - square**2) / count)
        print(
            f"| {distribution} | {distance:.2e} | {p:.3f} | {mean * np.sqrt(count):+.2f} | {(square - 1) / spread:+.2f} |"
        )


if __name__ == "__main__":
    main()
