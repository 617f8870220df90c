"""Formulas that a scale may come from: fans, depth, attributes."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from initdsl.text.wording import number

from .kinds import STANDARD, WORST
from .tensor import Tensor

__all__ = ["Formula", "formulas", "numbers"]


# scales that people write, the first six without a penalty
USUAL = (0.02, 0.01, 0.001, 1.0, 0.1, 0.05, 0.005, 1e-6, 0.5, 0.006, 0.002, 1e-4, 1e-5)


# the scale that a formula gives a tensor; None where it speaks of something that the tensor has not
Value = Callable[[Tensor], float | None]


@dataclass(frozen=True)
class Formula:
    """What a scale may come from: `Formula("sqrt(2 / fan_in)", "sqrt(6 / fan_in)", value, penalty=1.0)`.

    `text` is the standard deviation of a normal, `bound` the bound of a uniform, `value` the scale it gives a tensor.
    `calls` has whole calls by kind of distribution, `penalty` how unusual it is, in nats. `digits` are those of a plain
    number, 0 of one that is usual or found elsewhere in the model too; None of a formula.
    """

    text: str
    bound: str
    value: Value
    penalty: float
    calls: dict[str, str] = field(default_factory=dict)
    needs_layer: bool = False
    fans: bool = True
    digits: int | None = None


def _by_fans(function: Callable[[float, float], float]) -> Value:
    def value(tensor: Tensor) -> float | None:
        fans = tensor.fans()
        return None if fans is None else function(*fans)

    return value


def _groups(tensor: Tensor) -> float | None:
    groups = tensor.sampled.module.attribute("groups")
    fans = tensor.fans()
    return math.sqrt(2 * groups / fans[1]) if fans and isinstance(groups, int) and groups > 1 else None


FANS = (
    Formula(
        "sqrt(2 / fan_out)", "sqrt(6 / fan_out)", _by_fans(lambda i, o: math.sqrt(2 / o)), 1.0,
        {"normal": "kaiming_normal(mode=fan_out, nonlinearity=relu)", "uniform": "kaiming_uniform(mode=fan_out, nonlinearity=relu)"},
    ),
    Formula(
        "sqrt(2 / fan_in)", "sqrt(6 / fan_in)", _by_fans(lambda i, o: math.sqrt(2 / i)), 1.0,
        {"normal": "kaiming_normal(nonlinearity=relu)", "uniform": "kaiming_uniform(nonlinearity=relu)"},
    ),
    Formula(
        "sqrt(2 / (fan_in + fan_out))", "sqrt(6 / (fan_in + fan_out))", _by_fans(lambda i, o: math.sqrt(2 / (i + o))), 1.0,
        {"normal": "xavier_normal()", "uniform": "xavier_uniform()"},
    ),
    Formula(
        "1 / sqrt(3 * fan_in)", "1 / sqrt(fan_in)", _by_fans(lambda i, o: 1 / math.sqrt(3 * i)), 1.2,
        {"uniform": "kaiming_uniform(a=sqrt(5))"},
    ),
    Formula("1 / sqrt(fan_in)", "sqrt(3 / fan_in)", _by_fans(lambda i, o: 1 / math.sqrt(i)), 1.1, {"uniform": "lecun_uniform()"}),
    Formula("1 / sqrt(fan_out)", "sqrt(3 / fan_out)", _by_fans(lambda i, o: 1 / math.sqrt(o)), 1.6),
    Formula("1 / sqrt(3 * fan_out)", "1 / sqrt(fan_out)", _by_fans(lambda i, o: 1 / math.sqrt(3 * o)), 1.6),
    Formula("sqrt(2 * groups / fan_out)", "sqrt(6 * groups / fan_out)", _groups, 0.9),
    Formula("sqrt(2 / (5 * fan_in))", "sqrt(6 / (5 * fan_in))", _by_fans(lambda i, o: math.sqrt(2 / (5 * i))), 2.5),
    Formula("sqrt(2 / (fan_in + fan_out / 3))", "sqrt(6 / (fan_in + fan_out / 3))", _by_fans(lambda i, o: math.sqrt(2 / (i + o / 3))), 2.5),
    Formula("sqrt(2 / (fan_in + fan_out / 4))", "sqrt(6 / (fan_in + fan_out / 4))", _by_fans(lambda i, o: math.sqrt(2 / (i + o / 4))), 2.6),
    Formula("1 / sqrt(2 * fan_in)", "sqrt(3 / (2 * fan_in))", _by_fans(lambda i, o: 1 / math.sqrt(2 * i)), 2.5),
)  # fmt: skip


# truncated normals by the variance of what is left, as in JAX
VARIANCES = (
    ("lecun_normal()", lambda i, o: 1 / i),
    ("variance_scaling(2, fan_in, truncated_normal)", lambda i, o: 2 / i),
    ("variance_scaling(2, fan_out, truncated_normal)", lambda i, o: 2 / o),
    ("variance_scaling(1, fan_avg, truncated_normal)", lambda i, o: 2 / (i + o)),
)


def _by_variance(variance: Callable[[float, float], float]) -> Value:
    return _by_fans(lambda i, o: math.sqrt(variance(i, o)) / STANDARD["trunc2"].std)


def _by_attributes(tensors: Sequence[Tensor]) -> Iterator[Formula]:
    """Yield one over the root of a plain number of the module that owns the tensor: `embed_dim`, `hidden_size`."""
    first = tensors[0].sampled.module.attributes()
    for name, value in first.items():
        if not name.isidentifier() or type(value) is not int or value < 4 or name in ("in_features", "out_features"):
            continue
        texts = f"1 / sqrt({name})", f"sqrt(3 / {name})"
        yield Formula(*texts, _rooted(name, 1.0), 1.5)
        yield Formula(f"1 / sqrt(3 * {name})", f"1 / sqrt({name})", _rooted(name, 3.0), 2.0)


def _rooted(name: str, factor: float) -> Value:
    def value(tensor: Tensor) -> float | None:
        width = tensor.sampled.module.attribute(name)
        return 1 / math.sqrt(factor * width) if type(width) is int and width > 0 else None

    return value


# one over the root of a fan
ROOTS = (("fan_in", _by_fans(lambda i, o: 1 / math.sqrt(i))), ("fan_out", _by_fans(lambda i, o: 1 / math.sqrt(o))))


class Depth(NamedTuple):
    """A factor by depth: `Depth("sqrt(2 * len(net.blocks))", factor, 1.0)`; with `needs_layer` it speaks of `i`."""

    text: str
    factor: Value
    penalty: float
    needs_layer: bool = False


def _depths(tensors: Sequence[Tensor]) -> Iterator[Depth]:
    """Yield the factors that scales are over: roots of the number of layers, or of the number of the layer."""
    count = _depth(tensors)
    if count is None:
        return
    yield Depth(f"sqrt(2 * {count})", lambda t: math.sqrt(2 * (t.layers or 0)) or None, 1.0)
    yield Depth(f"sqrt({count})", lambda t: math.sqrt(t.layers or 0) or None, 2.0)
    yield Depth("sqrt(2 * (i + 1))", lambda t: math.sqrt(2 * ((t.layer or 0) + 1)), 1.0, needs_layer=True)
    yield Depth("sqrt(i + 1)", lambda t: math.sqrt((t.layer or 0) + 1), 1.5, needs_layer=True)


def _by_deepnet(tensors: Sequence[Tensor]) -> Iterator[Formula]:
    """Yield Glorot's scale with the gains of DeepNet, of layers of one kind and of a decoder's beside an encoder."""
    count = _depth(tensors)
    if count is None:
        return
    xavier = _by_fans(lambda i, o: math.sqrt(2 / (i + o)))
    for times in (8, 12):
        gain = f"({times} * {count}) ** -0.25"
        calls = {kind: f"xavier_{kind}(gain={gain})" for kind in ("normal", "uniform")}
        texts = f"sqrt(2 / (fan_in + fan_out)) * {gain}", f"sqrt(6 / (fan_in + fan_out)) * {gain}"
        yield Formula(*texts, _both(xavier, _deepnet_gain(times)), 2.0, calls)


def _deepnet_gain(times: int) -> Value:
    return lambda tensor: (times * (tensor.layers or 0)) ** 0.25


def _depth(tensors: Sequence[Tensor]) -> str | None:
    """Return how rules say how many layers the one list has that all the tensors lie in; None where there is none."""
    lists = {t.layer_list for t in tensors}
    return f"len({lists.pop()})" if len(lists) == 1 and None not in lists else None


# how unusual numbers of so many digits are, in nats
DIGITS = {2.0: 1, 5.0: 2, 8.0: 3, 11.0: 4, 16.0: 6}


def numbers(measured: float, error: float) -> Iterator[tuple[float, float]]:
    """Yield numbers that may have been meant, and how unusual they are in nats: usual ones, then rounded ones."""
    for usual in USUAL:
        if abs(measured / usual - 1) < WORST * error + 1e-9:
            yield usual, 0.0 if usual in USUAL[:6] else 0.5
    for power in range(2, 12):
        if abs(measured * 2**power - 1) < WORST * error:
            yield 2.0**-power, 3.0
    for penalty, digits in DIGITS.items():
        yield float(f"{measured:.{digits - 1}e}"), penalty


def _constants(siblings: Sequence[float], measured: float, error: float) -> Iterator[Formula]:
    for value in siblings:
        yield Formula(number(value), number(value), _over(value), _oddness(value), fans=False, digits=0)
    for value, penalty in numbers(measured, error):
        digits = 0 if penalty < 1 else DIGITS.get(penalty, 2)
        yield Formula(number(value), number(value), _over(value), penalty, fans=False, digits=digits)


def _oddness(value: float) -> float:
    """Return how unusual a number is that is found at several places, in nats: of many digits, a formula may have given it."""
    digits = f"{value:.6e}".partition("e")[0].replace(".", "").rstrip("0")
    return 0.0 if len(digits) <= 2 else 4.0


def _over(value: float, factor: Value = lambda tensor: 1.0) -> Value:
    return lambda tensor: value / (factor(tensor) or 1.0)


def formulas(
    tensors: Sequence[Tensor], kind: str, measured: list[tuple[float, float]], typical: float, error: float
) -> Iterator[Formula]:
    """Yield what the scale of a group may come from.

    `measured` has the scale of each tensor and its relative standard error, `typical` and `error` those of them all.
    """
    for formula in _constants(tensors[0].siblings, typical, error):
        yield replace(formula, penalty=formula.penalty + 1.0) if kind == "uniform" else formula
    matrices = all(len(tensor.shape) > 1 for tensor in tensors)
    yield from FANS if matrices else _fans_of_weight()
    yield from _by_attributes(tensors)
    if matrices:
        yield from _by_deepnet(tensors)
    if kind == "trunc2" and matrices:
        for call, variance in VARIANCES:
            yield Formula(call, "", _by_variance(variance), 0.8, {"trunc2": call})
    for depth in _depths(tensors):
        yield from _by_depth(tensors, depth, measured, error, matrices)


def _fans_of_weight() -> Iterator[Formula]:
    """Yield the formulas of fans for a vector, which has those of the weight beside it."""
    for formula in FANS:
        if "groups" not in formula.text:
            text, bound = (re.sub(r"fan_(in|out)", r"fan_\1(weight)", x) for x in (formula.text, formula.bound))
            yield Formula(text, bound, formula.value, formula.penalty + 0.5)


def _by_depth(
    tensors: Sequence[Tensor], depth: Depth, measured: list[tuple[float, float]], error: float, matrices: bool
) -> Iterator[Formula]:
    """Yield a number, and with matrices one over the root of a fan, over a factor that grows with depth."""
    factors = [factor for tensor in tensors if (factor := depth.factor(tensor)) is not None]
    if len(factors) < len(tensors):
        return
    weights = [1 / error**2 for _, error in measured]
    logarithms = [math.log(scale * (f or 1)) for (scale, _), f in zip(measured, factors, strict=True)]
    base = math.exp(sum(w * x for w, x in zip(weights, logarithms, strict=True)) / sum(weights))
    # over one number of layers any number is as good, and says nothing: it has to be one that is found elsewhere too
    bases = [(value, min(2.0, _oddness(value))) for value in tensors[0].siblings]
    for value, penalty in [*bases, *(numbers(base, error) if depth.needs_layer else ())]:
        text = f"{number(value)} / {depth.text}"
        value_of = _over(value, depth.factor)
        yield Formula(text, text, value_of, penalty + depth.penalty, needs_layer=depth.needs_layer, fans=False)
    for fan, of_fan in ROOTS if matrices else ():
        text, bound = f"1 / sqrt({fan}) / {depth.text}", f"sqrt(3 / {fan}) / {depth.text}"
        value_of = _both(of_fan, depth.factor)
        yield Formula(text, bound, value_of, 2.0 + depth.penalty, needs_layer=depth.needs_layer)


def _both(one: Value, under: Value) -> Value:
    return lambda tensor: (one(tensor) or 0.0) / (under(tensor) or 1.0)
