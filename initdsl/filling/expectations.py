"""`expect` statements held against the values that were written."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from initdsl.planning.expectations import unmet
from initdsl.statistics.moments import chunks, moments
from initdsl.text.diagnostic import Diagnostic

if TYPE_CHECKING:
    from initdsl.planning.plan import Expected, Plan

__all__ = ["unmet_expectations"]


def unmet_expectations(plan: Plan, value: Callable[[int], torch.Tensor | None]) -> list[Diagnostic]:
    """Return what of a plan's `expect` statements does not hold; `value` returns a tensor by its number, or None."""
    problems = []
    with torch.no_grad():
        for expected in plan.expected:
            tensor = value(expected.tensor)
            if tensor is None:
                continue
            wrong = _unmet(expected, plan.network.label(plan.network.tensors[expected.tensor]), tensor)
            if wrong is not None:
                rule = expected.rule
                problems.append(Diagnostic("unmet-expectation", wrong, plan.rules.source(rule.source), rule.span))
    return problems


def _unmet(expected: Expected, label: str, tensor: torch.Tensor) -> str | None:
    """Return what is wrong with a tensor's values, by an `expect`; None if nothing is. `std` is torch's, of a sample."""
    total = moments(tensor)
    n = total.count
    measured = {
        "mean": total.mean,
        "std": total.std * math.sqrt(n / (n - 1)) if n > 1 else math.nan,
        "min": total.low,
        "max": total.high,
        "norm": math.sqrt(n * (total.mean**2 + total.std**2)),
        "other": float(total.other),
    }
    if total.other:
        measured = {**dict.fromkeys(measured, math.nan), "other": float(total.other)}
    bounds = expected.bounds
    if expected.rule.what in ("min", "max", "values") and tensor.is_floating_point():  # as the tensor would hold them
        bounds = tuple(torch.tensor(bounds, dtype=torch.float64).to(tensor.dtype).tolist())
    if (expected.rule.what, expected.rule.operator) == ("values", "!=") and not total.other:
        equal = sum(int((chunk == bounds[0]).sum()) for chunk in chunks(tensor))
        return f"{equal:,} of {n:,} elements of `{label}` are {expected.bounds[0]:g}" if equal else None
    return unmet(replace(expected, bounds=bounds), label, measured)
