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
    """What of a plan's `expect` statements does not hold; `value` has a tensor by its number, or None to leave it out."""
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
    """What is wrong with a tensor's values, by an `expect`; None if nothing is. `std` is torch's, of a sample."""
    found = moments(tensor)
    n = found.count
    measured = {
        "mean": found.mean, "std": found.std * math.sqrt(n / (n - 1)) if n > 1 else math.nan, "min": found.low,
        "max": found.high, "norm": math.sqrt(n * (found.mean**2 + found.std**2)), "other": float(found.other),
    }  # fmt: skip
    if found.other:
        measured = {**dict.fromkeys(measured, math.nan), "other": float(found.other)}
    bounds = expected.bounds
    if expected.rule.what in ("min", "max", "values") and tensor.is_floating_point():  # as the tensor would hold them
        bounds = tuple(torch.tensor(bounds, dtype=torch.float64).to(tensor.dtype).tolist())
    if (expected.rule.what, expected.rule.operator) == ("values", "!=") and not found.other:
        equal = sum(int((chunk == bounds[0]).sum()) for chunk in chunks(tensor))
        return f"{equal:,} of {n:,} elements of `{label}` are {expected.bounds[0]:g}" if equal else None
    return unmet(replace(expected, bounds=bounds), label, measured)
