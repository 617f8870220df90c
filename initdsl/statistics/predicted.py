"""What the elements of a planned tensor follow, before anything is drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, assert_never

from initdsl.initializers import Bernoulli, Constant, Distribution, Normal, TruncatedNormal, Uniform
from initdsl.planning.actions import Action, Draw, Payload, Value
from initdsl.planning.plan import PlanEntry

__all__ = ["Promise", "affine_distribution", "expected", "scaled_by"]


class Promise(NamedTuple):
    """What rules promise of a tensor's elements: `Promise(mean=0.0, std=0.02, low=-inf, high=inf)`."""

    mean: float
    std: float
    low: float
    high: float


def expected(entry: PlanEntry) -> Promise | None:
    """Return what the rules promise of an entry's elements, where that is known.

    Known are distributions and numbers, the matrices of `torch.nn.init` that are no distribution, and those edited by
    a number on the whole.
    """
    edits = _affine(entry.edits) if _on_the_whole(entry.edits) else None
    base = None if entry.base is None or edits is None else _of_base(entry.base)
    if base is None or edits is None:
        return None
    scale, shift = edits
    ends = (base.low * scale + shift, base.high * scale + shift) if scale else (shift, shift)
    promise = Promise(base.mean * scale + shift, base.std * abs(scale), min(ends), max(ends))
    return None if any(math.isnan(x) for x in promise) else promise


def affine_distribution(entry: PlanEntry) -> Distribution | None:
    """Return the distribution of an entry that is drawn as a whole and then moved or scaled by numbers; else None."""
    if entry.base is None or not _on_the_whole(entry.edits):
        return None
    return scaled_by(entry.base.payload, entry.edits)


def scaled_by(payload: Payload, edits: Sequence[Action]) -> Distribution | None:
    """Return the distribution of what is drawn or set, and then moved or scaled by numbers; else None."""
    by = _affine(edits)
    payload = Constant(float(payload.value)) if isinstance(payload, Value) else payload
    if by is None or not isinstance(payload, Distribution):
        return None
    scale, shift = by
    if not scale:
        return None
    distribution = _scaled(payload, scale, shift) if by != (1.0, 0.0) else payload
    return Constant(distribution.mean) if distribution.std == 0 else distribution


def _on_the_whole(edits: Sequence[Action]) -> bool:
    return all(edit.index is None and edit.view is None for edit in edits)


def _affine(edits: Sequence[Action]) -> tuple[float, float] | None:
    """Return the scale and the shift that edits come to; None where one is not by a number."""
    scale, shift = 1.0, 0.0
    for edit in edits:
        if not isinstance(edit.payload, Value):
            return None
        by = float(edit.payload.value)
        match edit.operator:
            case "*=":
                scale, shift = scale * by, shift * by
            case "/=" if by:
                scale, shift = scale / by, shift / by
            case "+=":
                shift += by
            case "-=":
                shift -= by
            case _:
                return None
    return scale, shift


def _of_base(action: Action) -> Promise | None:
    payload, shape = action.payload, action.shape
    if isinstance(payload, Value):
        value = float(payload.value)
        return Promise(value, 0.0, value, value)
    if isinstance(payload, Distribution):
        return Promise(payload.mean, payload.std, *payload.bounds)
    if not isinstance(payload, Draw) or len(shape) < 2 or not math.prod(shape):
        return None
    rows, columns = shape[0], math.prod(shape[1:])
    arguments = payload.arguments
    match payload.initializer.name:
        case "orthogonal":
            gain = abs(float(arguments["gain"]))
            return Promise(0.0, gain / math.sqrt(max(rows, columns)), -gain, gain)
        case "sparse":
            kept = 1 - math.ceil(float(arguments["sparsity"]) * rows) / rows
            return Promise(0.0, float(arguments["std"]) * math.sqrt(kept), -math.inf, math.inf)
        case "eye":
            mean = 1 / max(rows, columns)
            return Promise(mean, math.sqrt(mean * (1 - mean)), 0.0, 1.0)
    return None


def _scaled(distribution: Distribution, scale: float, shift: float) -> Distribution:
    low, high = sorted((distribution.bounds[0] * scale + shift, distribution.bounds[1] * scale + shift))
    match distribution:
        case Uniform():
            return Uniform(low, high)
        case Normal():
            return Normal(distribution.mean * scale + shift, distribution.std * abs(scale))
        case TruncatedNormal():
            return TruncatedNormal(distribution.loc * scale + shift, distribution.scale * abs(scale), low, high)
        case Bernoulli():
            return Bernoulli(distribution.p, distribution.low * scale + shift, distribution.high * scale + shift)
        case Constant():
            return Constant(distribution.value * scale + shift)
    assert_never(distribution)
