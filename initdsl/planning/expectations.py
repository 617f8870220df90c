"""`expect` statements: decided in the plan where it tells, else left for the values once they are there."""

from __future__ import annotations

import math
from collections.abc import Sequence

from initdsl.language.expressions.evaluate import evaluate
from initdsl.language.expressions.shapes import EvalError, describe_value
from initdsl.language.syntax.nodes import Expect
from initdsl.network.description import describe_tensor
from initdsl.network.selectors.matches import Match
from initdsl.text.wording import listed

from .context import Resolution
from .names import Names
from .plan import Expected, PlanEntry

__all__ = ["holds", "plan_expectations", "unmet"]


# whole numbers up to this one are what they are in every type of float that trains
LARGEST_EXACT = 256


def plan_expectations(at: Resolution, entries: Sequence[PlanEntry]) -> list[Expected]:
    """Check every `expect` as far as a plan can tell; returns what only values can tell."""
    expected: list[Expected] = []
    for rule, lets, frame in at.expect_rules:
        at.lets = lets
        found = [at.select(operand, rule.source, frame) for operand in rule.operands]
        if any(matches is None for matches in found):
            continue
        try:
            if rule.what == "tied":
                _tied(at, rule, [m for matches in found for m in matches or ()])
            elif rule.what == "covered":
                _covered(at, rule, entries, found[0] or [])
            else:
                for match in at.expanded(found[0] or []):
                    expected += _one(at, rule, entries, match)
        except EvalError as error:
            at.report(error, rule.source)
    return expected


def _tied(at: Resolution, rule: Expect, matches: list[Match]) -> None:
    if len(matches) < 2:
        raise EvalError("there is nothing this could be tied to", rule.span, name="unmet-expectation")
    first = at.named(matches[0])
    for other in matches[1:]:
        names = at.named(other)
        apart = [n for n in sorted({*first, *names}) if at.one(first.get(n)) != at.one(names.get(n)) or n not in first]
        if apart:
            inner = f": {listed([n for n in apart if n])}" if any(apart) else ""
            raise EvalError(
                f"`{at.shown(matches[0])}` and `{at.shown(other)}` are not tied{inner}", rule.span,
                f"`tie {at.shown(matches[0])} {at.shown(other)}` ties them", "unmet-expectation",
            )  # fmt: skip


def _covered(at: Resolution, rule: Expect, entries: Sequence[PlanEntry], matches: list[Match]) -> None:
    wanted = {at.one(match.tensor) for match in at.expanded(matches)}
    left = [e.label for e in entries if e.tensor.index in wanted and e.status in ("uncovered", "partial")]
    if left:
        raise EvalError(
            f"no rule sets {'all of ' if len(left) == 1 else ''}{listed(left, 8)}", rule.span,
            "`keep` leaves a parameter as it is, and says so", "unmet-expectation",
        )  # fmt: skip


def _one(at: Resolution, rule: Expect, entries: Sequence[PlanEntry], match: Match) -> list[Expected]:
    """One tensor: its bounds as numbers, and what the plan knows of its values."""
    if match.index is not None or match.view is not None:
        piece = match.index or match.view
        assert piece is not None
        raise EvalError("an expectation speaks of whole parameters", piece.span, name="bad-index")
    index = at.one(match.tensor)
    assert index is not None
    tensor = at.network.tensors[index]
    env = Names(at.network, at.matcher, at.registry, at.lets, match, index, tensor.shape, at.tied_to)
    values = [evaluate(bound, env) for bound in rule.bounds]
    if rule.what == "shape":
        wanted = values[0] if isinstance(values[0], tuple | list) else (values[0],)
        if (tuple(wanted) == tensor.shape) != (rule.operator == "="):
            not_ = "" if rule.operator == "!=" else f", not {list(wanted)}"
            raise EvalError(
                f"{describe_tensor(tensor)} has shape {list(tensor.shape)}{not_}", rule.span, name="unmet-expectation"
            )
        return []
    for value, node in zip(values, rule.bounds, strict=True):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise EvalError(f"this is {describe_value(value)}, not a number", node.span, name="bad-expectation")
    if rule.operator == "in" and values[0] > values[1]:
        raise EvalError(
            f"the lower bound {values[0]:g} is above the upper bound {values[1]:g}", rule.bounds[0].span, "swap the bounds",
            "bad-expectation",
        )  # fmt: skip
    expected = Expected(rule, index, tuple(float(v) for v in values))
    entry = next((e for e in entries if e.tensor.index == index), None)
    what = entry.distribution if entry is not None else None
    if what is not None and tensor.numel:
        low, high = what.bounds
        constant = low == high
        known = {"mean": (low, high), "min": (low, high), "max": (low, high), "values": (low, high)}
        if constant:
            known["std"] = (0.0, 0.0) if tensor.numel > 1 else (math.nan, math.nan)
            known["norm"] = (abs(low) * math.sqrt(tensor.numel),) * 2
        if rule.what == "finite" and constant and not math.isfinite(low):
            raise EvalError(f"`{at.network.label(tensor)}` is {what}", rule.span, name="unmet-expectation")
        exact = constant and low.is_integer() and abs(low) <= LARGEST_EXACT and rule.what in ("values", "min", "max")
        if rule.what in known and not (holds(expected, low) if exact else _possible(expected, *known[rule.what])):
            raise EvalError(
                f"`{at.network.label(tensor)}` is {what}: its {_noun(rule.what)} can't be {_wanted(expected)}", rule.span,
                name="unmet-expectation",
            )  # fmt: skip
    return [expected]


def _possible(expected: Expected, low: float, high: float) -> bool:
    """Whether a number between `low` and `high` can be what is expected; with room for rounding."""
    room = 1e-6 * max(abs(low) if math.isfinite(low) else 0.0, abs(high) if math.isfinite(high) else 0.0)
    match expected.rule.operator:
        case "in":
            return low - room <= expected.bounds[1] and high + room >= expected.bounds[0]
        case "=":
            return low - room <= expected.bounds[0] <= high + room
        case "<":
            return low - room < expected.bounds[0]
        case "<=":
            return low - room <= expected.bounds[0]
        case ">":
            return high + room > expected.bounds[0]
        case ">=":
            return high + room >= expected.bounds[0]
    return True


def holds(expected: Expected, value: float) -> bool:
    """Whether a measured number is as expected."""
    bounds = expected.bounds
    match expected.rule.operator:
        case "in":
            return bounds[0] <= value <= bounds[1]
        case "=":
            return value == bounds[0]
        case "!=":
            return value != bounds[0]
        case "<":
            return value < bounds[0]
        case "<=":
            return value <= bounds[0]
        case ">":
            return value > bounds[0]
    return value >= bounds[0]


def unmet(expected: Expected, label: str, measured: dict[str, float]) -> str | None:
    """What is said of a tensor that is not as expected; `measured` has `mean std min max norm` and `other`."""
    what = expected.rule.what
    if what == "finite":
        return f"{measured['other']:.0f} elements of `{label}` are not finite" if measured["other"] else None
    if what == "values":
        if measured["other"]:
            return f"{measured['other']:.0f} elements of `{label}` are not finite"
        for end in ("min", "max"):
            if not holds(expected, measured[end]):
                return f"`{label}` has values from {measured['min']:.6g} to {measured['max']:.6g}, expected {_wanted(expected)}"
        return None
    if holds(expected, measured[what]):
        return None
    return f"`{label}` has {_noun(what)} {measured[what]:.6g}, expected {_wanted(expected)}"


def _noun(what: str) -> str:
    return {"min": "smallest element", "max": "largest element", "values": "elements"}.get(what, what)


def _wanted(expected: Expected) -> str:
    if expected.rule.operator == "in":
        return f"in [{expected.bounds[0]:g}, {expected.bounds[1]:g}]"
    return f"{expected.rule.operator} {expected.bounds[0]:g}".removeprefix("= ")
