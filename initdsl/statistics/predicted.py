"""What the elements of a planned tensor follow, before anything is drawn."""

from __future__ import annotations

import math

from initdsl.initializers import Bernoulli, Constant, Distribution, Normal, Random, TruncatedNormal, Uniform
from initdsl.planning.actions import Action, Draw, Value
from initdsl.planning.plan import PlanEntry

__all__ = ["affine_distribution", "entry_distribution", "expected"]


def expected(entry: PlanEntry) -> tuple[float, float, float, float] | None:
    """Mean, standard deviation and bounds (infinite: none) that the rules promise, where they are known.

    Known are distributions and numbers, the matrices of `torch.nn.init` that are no distribution, and those edited by
    a number on the whole.
    """
    if entry.base is None or any(a.operator not in ("+=", "-=", "*=", "/=") for a in entry.edits):
        return None
    found = _of(entry.base)
    for action in entry.edits:
        if found is None or action.index is not None or action.view is not None:
            return None
        if not isinstance(action.payload, Value):
            return None
        mean, std, low, high = found
        by = float(action.payload.value)
        if action.operator in ("*=", "/="):
            if action.operator == "/=":
                by = 1 / by if by else math.nan
            ends = (low * by, high * by) if by else (0.0, 0.0)
            found = mean * by, std * abs(by), min(ends), max(ends)
        else:
            by = by if action.operator == "+=" else -by
            found = mean + by, std, low + by, high + by
    return found if found is None or all(not math.isnan(x) for x in found) else None


def _of(action: Action) -> tuple[float, float, float, float] | None:
    payload, shape = action.payload, action.shape
    if isinstance(payload, Value):
        value = float(payload.value)
        return value, 0.0, value, value
    if isinstance(payload, Distribution):
        return payload.mean, payload.std, *payload.bounds
    if not isinstance(payload, Draw) or len(shape) < 2 or not math.prod(shape):
        return None
    rows, columns = shape[0], math.prod(shape[1:])
    arguments = payload.arguments
    match payload.initializer.name:
        case "orthogonal":
            gain = abs(float(arguments["gain"]))
            return 0.0, gain / math.sqrt(max(rows, columns)), -gain, gain
        case "sparse":
            kept = 1 - math.ceil(float(arguments["sparsity"]) * rows) / rows
            return 0.0, Normal(0.0, float(arguments["std"])).std * math.sqrt(kept), -math.inf, math.inf
        case "eye":
            mean = 1 / max(rows, columns)
            return mean, math.sqrt(mean * (1 - mean)), 0.0, 1.0
    return None


def entry_distribution(action: Action) -> Distribution:
    payload = action.payload
    if isinstance(payload, Value):
        return Constant(float(payload.value))
    assert isinstance(payload, Distribution)
    return payload


def affine_distribution(entry: PlanEntry) -> Distribution | None:
    """The distribution of an entry that is drawn as a whole and then moved or scaled by numbers."""
    if entry.base is None or not isinstance(entry.base.payload, Random):
        return None
    what: Distribution = entry.base.payload
    for edit in entry.edits:
        if edit.index is not None or edit.view is not None or not isinstance(edit.payload, Value):
            return None
        if edit.operator in "=~":
            return None
        value = float(edit.payload.value)
        scale = {"*=": value, "/=": 1 / value if value else 0.0}.get(edit.operator, 1.0)
        shift = {"+=": value, "-=": -value}.get(edit.operator, 0.0)
        if not scale:
            return None
        what = _scaled(what, scale, shift)
    return Constant(what.mean) if what.std == 0 else what


def _scaled(what: Distribution, scale: float, shift: float) -> Distribution:
    low, high = sorted((what.bounds[0] * scale + shift, what.bounds[1] * scale + shift))
    match what:
        case Uniform():
            return Uniform(low, high)
        case Normal():
            return Normal(what.mean * scale + shift, what.std * abs(scale))
        case TruncatedNormal():
            return TruncatedNormal(what.loc * scale + shift, what.scale * abs(scale), low, high)
        case Bernoulli():
            return Bernoulli(what.p, what.low * scale + shift, what.high * scale + shift)
    return Constant(what.mean * scale + shift)
