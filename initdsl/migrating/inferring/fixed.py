"""Rules for values that are the same in every build."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch

from initdsl.initializers import default_registry
from initdsl.text.wording import number, value_text

from .tensor import Fit, Tensor

__all__ = ["fit_fixed", "fit_orthogonal"]


def fit_fixed(tensors: Sequence[Tensor], count: int) -> Fit | None:
    """Return what no draw moves: an identity, a formula of the place, stretches of constants."""
    values = [t.sampled.first for t in tensors]
    if all(v.ndim == 2 and torch.equal(v, torch.eye(*v.shape)) for v in values):
        return Fit("=", "eye()", count=count)
    if all(3 <= v.ndim <= 5 and torch.equal(v, _dirac(v)) for v in values):
        return Fit("=", "dirac()", count=count)
    for call in SINUSOIDS:
        if all(v.ndim > 1 and _is_table(v, call) for v in values):
            arguments = ", ".join(f"{name}={value_text(value)}" for name, value in call.items())
            return Fit("=", f"sinusoidal({arguments})", count=count)
    for d in range(max(v.ndim for v in values)):
        if all(v.ndim > d and torch.allclose(v, torch.log(_index(v, d) + 1).expand_as(v), rtol=1e-5) for v in values):
            return Fit("=", f"log(index({d}) + 1)", count=count)
        if all(v.ndim > d and torch.allclose(v, _index(v, d).expand_as(v)) for v in values):
            return Fit("=", f"index({d})", count=count)
    runs = _runs(values[0])
    if runs is not None and all(_runs(v) == runs for v in values):
        lengths: dict[float, int] = {}
        for start, end, value in runs:
            lengths[value] = lengths.get(value, 0) + end - start
        common = max(lengths, key=lengths.__getitem__)
        slices = tuple(f"[{start}:{end}] = {number(value)}" for start, end, value in runs if value != common)
        return Fit("=", number(common), count=count, after=slices)
    return None


def _dirac(like: torch.Tensor) -> torch.Tensor:
    dirac = torch.empty_like(like)
    default_registry()["dirac"].function(dirac, groups=1)
    return dirac


SINUSOIDS: tuple[dict[str, Any], ...] = tuple(
    layout | end for layout in ({}, {"layout": "halves"}) for end in ({}, {"endpoint": True})
)


def _is_table(values: torch.Tensor, call: dict[str, Any]) -> bool:
    """Return whether it is a sinusoidal table; libraries work out angles in float32, so their errors grow with the position."""
    table = torch.empty_like(values)
    default_registry()["sinusoidal"].function(table, **call)
    return torch.allclose(table, values, rtol=0, atol=1e-6 * values.shape[-2])


def _index(values: torch.Tensor, d: int) -> torch.Tensor:
    return torch.arange(values.shape[d], dtype=torch.float32).view([-1 if k == d else 1 for k in range(values.ndim)])


def _runs(values: torch.Tensor) -> list[tuple[int, int, float]] | None:
    """Return the stretches along dimension 0 that hold one value each, if they are few."""
    rows = values.flatten(1) if values.ndim > 1 else values[:, None] if values.ndim else values.view(1, 1)
    if not bool((rows == rows[:, :1]).all()):
        return None
    column = rows[:, 0].tolist()
    cuts = [0, *(k for k in range(1, len(column)) if column[k] != column[k - 1]), len(column)]
    return [(a, b, column[a]) for a, b in itertools.pairwise(cuts)] if len(cuts) <= 7 else None


def fit_orthogonal(tensors: Sequence[Tensor], count: int) -> Fit | None:
    """Return orthogonal matrices of one gain, whole or in blocks; None where gains or blocks differ."""
    gains, blocks = [t.sampled.gain for t in tensors], {t.sampled.blocks for t in tensors}
    if len(blocks) != 1 or max(gains) - min(gains) > 1e-3 * max(gains):
        return None
    gain = sum(gains) / len(gains)
    text = (
        "1" if abs(gain - 1) < 1e-4 else "sqrt(2)" if abs(gain - math.sqrt(2)) < 1e-4 else number(float(f"{gain:.4g}"))
    )
    view = "" if blocks == {1} else f" as ({blocks.pop()}, -1, {math.prod(tensors[0].shape[1:])})[*]"
    return Fit("~", "orthogonal()" if text == "1" else f"orthogonal({text})", view=view, count=count)
