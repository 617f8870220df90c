"""What is in tensors, measured: moments, bounds and histograms, in bounded memory. Reads only."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict

import torch

from .measures import Measure, Moments, joined

__all__ = ["chunks", "measure", "moments", "real_parts"]


# elements that are looked at together
CHUNK = 1 << 22


# bars of a histogram
BINS = 25


# elements a histogram counts at most, evenly spaced
MOST_COUNTED = 1 << 18


def chunks(tensor: torch.Tensor) -> Iterator[torch.Tensor]:
    """Yield the elements of a tensor, some at a time, flat."""
    flat = tensor.reshape(-1)
    for start in range(0, flat.numel(), CHUNK):
        yield flat[start : start + CHUNK]


def real_parts(tensor: torch.Tensor) -> torch.Tensor:
    """Return the parts of a complex tensor, with one dimension more; a real one as it is."""
    return torch.view_as_real(tensor.detach().resolve_conj()) if tensor.is_complex() else tensor


def moments(tensor: torch.Tensor) -> Moments:
    """Return the moments of a tensor, worked out on its device in float64 (float32 on MPS, which has no other).

    Those of a complex one are those of its parts, of which it has two for each element.
    """
    # float32 holds no squares of numbers above 1e19: exploding networks have those
    work = torch.float64 if tensor.device.type != "mps" else torch.float32
    total = Moments()
    with torch.no_grad():
        for chunk in chunks(real_parts(tensor)):
            total = joined(total, _of_chunk(chunk.to(work)))
    return total


def _of_chunk(values: torch.Tensor) -> Moments:
    low, high = map(float, torch.aminmax(values))
    other = 0
    if not (math.isfinite(low) and math.isfinite(high)):
        finite = values[torch.isfinite(values)]
        other = values.numel() - finite.numel()
        if not finite.numel():
            return Moments(other=other)
        values = finite
        low, high = map(float, torch.aminmax(values))
    variance, mean = torch.var_mean(values, correction=0)
    return Moments(values.numel(), float(mean), math.sqrt(float(variance)), low, high, other)


def measure(tensor: torch.Tensor, bins: int = BINS, histogram: bool = True) -> Measure:
    """Return the moments of a real tensor and, if its elements differ, their histogram."""
    total = moments(tensor)
    known = asdict(total)
    if not total.count:
        return Measure(**known)
    stds, edges = (total.std, total.std), (total.low, total.high)
    if not histogram or total.low == total.high or not math.isfinite(total.high - total.low):
        return Measure(**known, stds=stds, edges=edges)
    flat = tensor.reshape(-1)[:: -(-tensor.numel() // MOST_COUNTED)].to("cpu", torch.float64)
    counts = torch.histc(flat[torch.isfinite(flat)], bins, total.low, total.high)
    return Measure(**known, stds=stds, histogram=tuple(map(int, counts.tolist())), edges=edges)
