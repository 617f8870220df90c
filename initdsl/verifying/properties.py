"""What drawn matrices must have: orthonormal rows, so many zeros."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch

from initdsl.initializers import Normal
from initdsl.statistics.goodness import Sample

__all__ = ["PROPERTIES"]


# ---- properties

# how far the products of an orthogonal matrix may be from those of the identity: rounding of each dtype, with room
ORTHOGONAL = {torch.float64: 1e-9, torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}


def _orthogonal(values: torch.Tensor, arguments: Mapping[str, Any]) -> str | None:
    gain = float(arguments["gain"])
    matrix = values.double().reshape(values.shape[0], -1)
    matrix = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.t()
    wanted = gain * gain * torch.eye(matrix.shape[0], dtype=torch.float64)
    away = float((matrix @ matrix.t() - wanted).abs().max())
    if not away <= ORTHOGONAL.get(values.dtype, 0.2) * max(gain * gain, 1e-30):
        return f"it is not orthogonal: a product of its rows is off by {away:.2g}"
    return None


def _sparse(values: torch.Tensor, arguments: Mapping[str, Any]) -> str | None:
    zeroed = math.ceil(float(arguments["sparsity"]) * values.shape[0])
    zeros = (values == 0).sum(0)
    if bool((zeros < zeroed).any()):
        return f"a column has {int(zeros.min())} zeros, not {zeroed}"
    if zeroed < values.shape[0] and float(arguments["std"]) and bool((zeros == values.shape[0]).any()):
        return f"a column has {values.shape[0]} zeros, not {zeroed}"
    sample = Sample(Normal(0.0, float(arguments["std"])), values.dtype)
    sample.add(values[values != 0])
    p = min(sample.tests().values(), default=1.0)
    return f"what is not zero is not normal with std {arguments['std']:g} (p = {p:.2g})" if p < 1e-6 else None


PROPERTIES: dict[str, Callable[[torch.Tensor, Mapping[str, Any]], str | None]] = {
    "orthogonal": _orthogonal,
    "sparse": _sparse,
}
