"""`expect` statements: decided in the plan where it tells, else left for the values once they are there."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from initdsl.initializers import Distribution
from initdsl.language.expressions.evaluate import evaluate
from initdsl.language.expressions.shapes import EvalError, describe_value
from initdsl.language.syntax.nodes import Expect
from initdsl.network.parts import TensorInfo, describe_tensor
from initdsl.network.selectors.matches import Match
from initdsl.text.diagnostic import Diagnostic
from initdsl.text.wording import listed

from .context import Context, finding_of, match_label, refuse_piece, state_of_match
from .lookups import Site
from .names import Names
from .plan import Expected, PlanEntry
from .selecting import nothing_to_do, parameters_of, select_or_report, state_of, tensors_in, without_tensors
from .statements import Expectation

__all__ = ["holds", "plan_expectations", "unmet"]


# what is expected of a module's parameters and persistent buffers; all else is expected of its parameters
OF_THE_STATE = ("tied", "covered")


# whole numbers up to this one are what they are in every type of float that trains
LARGEST_EXACT = 256


def plan_expectations(
    context: Context, expectations: Sequence[Expectation], entries: Sequence[PlanEntry], findings: list[Diagnostic]
) -> tuple[Expected, ...]:
    """Check every `expect` as far as a plan can tell; return what only values can tell."""
    expected: list[Expected] = []
    by_tensor = {entry.tensor.index: entry for entry in entries} if expectations else {}
    for expectation in expectations:
        rule, setting = expectation.rule, expectation.setting
        selected = [select_or_report(context, setting, operand, findings) for operand in rule.operands]
        operands = [matches for matches in selected if matches is not None]
        if len(operands) < len(selected):
            continue
        try:
            own = parameters_of if rule.what not in OF_THE_STATE else state_of
            for operand in rule.operands:
                for part, match in without_tensors(context, setting, operand, own):
                    findings.append(nothing_to_do(context, rule.source, part, match, "expect"))
            if rule.what == "tied":
                _check_tied(context, rule, [match for matches in operands for match in matches])
            elif rule.what == "covered":
                _check_covered(context, expectation, entries, operands[0])
            else:
                for match in tensors_in(context, setting, operands[0], rule.operands[0].span, own):
                    expected += _expected(context, expectation, by_tensor, match)
        except EvalError as error:
            findings.append(finding_of(context, error, rule.source))
    return tuple(expected)


def _check_tied(context: Context, rule: Expect, matches: list[Match]) -> None:
    """Raise EvalError where some of the matches are not tied."""
    if len(matches) < 2:
        raise EvalError("there is nothing this could be tied to", rule.span, name="unmet-expectation")
    tied_to = context.tied_to
    first = {name: tied_to.get(t, t) for name, t in state_of_match(context, matches[0]).items()}
    for other in matches[1:]:
        names = {name: tied_to.get(t, t) for name, t in state_of_match(context, other).items()}
        apart = [name for name in sorted({*first, *names}) if first.get(name) != names.get(name)]
        if apart:
            inner = f": {listed([name for name in apart if name])}" if any(apart) else ""
            one, another = (f"`{match_label(context, match)}`" for match in (matches[0], other))
            hint = f"`tie {one[1:-1]} {another[1:-1]}` ties them"
            raise EvalError(f"{one} and {another} are not tied{inner}", rule.span, hint, "unmet-expectation")


def _check_covered(
    context: Context, expectation: Expectation, entries: Sequence[PlanEntry], matches: list[Match]
) -> None:
    """Raise EvalError where no rule sets all of a parameter."""
    rule = expectation.rule
    wanted = {context.tied_to.get(tensor, tensor) for tensor in _to_be_covered(context, expectation, matches)}
    unset = [e.label for e in entries if e.tensor.index in wanted and e.status in ("uncovered", "partial")]
    network, there = context.network, {e.tensor.index for e in entries}
    unset += [network.label(network.tensors[i]) for i in sorted(wanted - there) if network.tensors[i].kind == "buffer"]
    if unset:
        message = f"no rule sets {'all of ' if len(unset) == 1 else ''}{listed(unset, 8)}"
        raise EvalError(message, rule.span, "`keep` leaves a parameter as it is, and says so", "unmet-expectation")


def _to_be_covered(context: Context, expectation: Expectation, matches: list[Match]) -> Iterator[int]:
    """Yield the tensors, by number, that rules have to set so that all matches are covered.

    A buffer has the value that its constructor gives it: it counts where it is named, or where a module has nothing else.
    """
    network, setting, span = context.network, expectation.setting, expectation.rule.operands[0].span
    for match in matches:
        if match.tensor is not None:
            yield match.tensor
            continue
        own = [
            found.tensor for found in tensors_in(context, setting, [match], span, state_of) if found.tensor is not None
        ]
        parameters = [tensor for tensor in own if network.tensors[tensor].kind != "buffer"]
        yield from parameters or own


def _expected(
    context: Context, expectation: Expectation, entries: Mapping[int, PlanEntry], match: Match
) -> list[Expected]:
    """Return what is expected of one tensor, its bounds as numbers; nothing where the plan tells. Raises EvalError."""
    refuse_piece(match, "an expectation speaks of whole parameters")
    rule = expectation.rule
    assert match.tensor is not None
    index = context.tied_to.get(match.tensor, match.tensor)
    tensor = context.network.tensors[index]
    env = Names(Site(context, expectation.setting.variables, match, index, tensor.shape))
    values = [evaluate(bound, env) for bound in rule.bounds]
    if rule.what == "shape":
        _check_shape(rule, tensor, values[0])
        return []
    if tensor.complex and rule.what != "finite":
        message = f"`{tensor.label}` is {tensor.dtype}, and `expect ... {rule.what}` looks at real numbers"
        raise EvalError(
            message, rule.span, "`finite`, `shape`, `covered` and `tied` are of any tensor", "bad-expectation"
        )
    expected = Expected(rule, index, _bounds(rule, values))
    entry = entries.get(index)
    distribution = entry.distribution if entry is not None else None
    if distribution is not None and tensor.numel:
        _check_distribution(expected, distribution, context.network.label(tensor), tensor.numel)
    return [expected]


def _check_shape(rule: Expect, tensor: TensorInfo, value: Any) -> None:
    wanted = value if isinstance(value, tuple | list) else (value,)
    if (tuple(wanted) == tensor.shape) != (rule.operator == "="):
        expected = "" if rule.operator == "!=" else f", not {list(wanted)}"
        message = f"{describe_tensor(tensor)} has shape {list(tensor.shape)}{expected}"
        raise EvalError(message, rule.span, name="unmet-expectation")


def _bounds(rule: Expect, values: list[Any]) -> tuple[float, ...]:
    """Return the bounds of an expectation as numbers. Raises EvalError for others, and for an interval upside down."""
    for value, node in zip(values, rule.bounds, strict=True):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise EvalError(f"this is {describe_value(value)}, not a number", node.span, name="bad-expectation")
    if rule.operator == "in" and values[0] > values[1]:
        message = f"the lower bound {values[0]:g} is above the upper bound {values[1]:g}"
        raise EvalError(message, rule.bounds[0].span, "swap the bounds", "bad-expectation")
    return tuple(float(value) for value in values)


def _check_distribution(expected: Expected, distribution: Distribution, label: str, numel: int) -> None:
    """Raise EvalError where elements that follow a distribution can't be as expected."""
    rule, (low, high) = expected.rule, distribution.bounds
    is_constant = low == high
    ranges = dict.fromkeys(("mean", "min", "max", "values"), (low, high))
    if is_constant:
        ranges["std"] = (0.0, 0.0) if numel > 1 else (math.nan, math.nan)
        ranges["norm"] = (abs(low) * math.sqrt(numel),) * 2
    if rule.what == "finite" and is_constant and not math.isfinite(low):
        raise EvalError(f"`{label}` is {distribution}", rule.span, name="unmet-expectation")
    if rule.what not in ranges:
        return
    exact = is_constant and low.is_integer() and abs(low) <= LARGEST_EXACT and rule.what in ("values", "min", "max")
    if not (holds(expected, low) if exact else _possible(expected, *ranges[rule.what])):
        message = f"`{label}` is {distribution}: its {_noun(rule.what)} can't be {_wanted(expected)}"
        raise EvalError(message, rule.span, name="unmet-expectation")


def _possible(expected: Expected, low: float, high: float) -> bool:
    """Return whether a number between `low` and `high` can be what is expected; with room for rounding."""
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
    """Return whether a measured number is as expected."""
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
    """Return what is said of a tensor that is not as expected, else None; `measured` has `mean std min max norm` and `other`."""
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
