"""Formulas that a scale may come from: fans, depth, attributes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from initdsl.text.wording import number

from .kinds import STANDARD, WORST
from .tensor import Tensor

__all__ = ["Formula", "formulas", "numbers"]


USUAL = (0.02, 0.01, 0.001, 1.0, 0.1, 0.05, 0.005, 1e-6, 0.5, 0.006, 0.002, 1e-4, 1e-5)


# ---- formulas of the scale


@dataclass(frozen=True)
class Formula:
    """`text` is the standard deviation of a normal; `bound` what stands for a uniform; `calls` whole calls by kind."""

    text: str
    bound: str
    value: Callable[[Tensor], float | None]
    penalty: float
    calls: dict[str, str] = field(default_factory=dict)
    needs_layer: bool = False
    fans: bool = True


def _by_fans(function: Callable[[float, float], float]) -> Callable[[Tensor], float | None]:
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
    ("lecun_normal()", lambda i, o: 1 / i), ("variance_scaling(2, fan_in, truncated_normal)", lambda i, o: 2 / i),
    ("variance_scaling(2, fan_out, truncated_normal)", lambda i, o: 2 / o),
    ("variance_scaling(1, fan_avg, truncated_normal)", lambda i, o: 2 / (i + o)),
)  # fmt: skip


def _by_variance(variance: Callable[[float, float], float]) -> Callable[[Tensor], float | None]:
    return _by_fans(lambda i, o: math.sqrt(variance(i, o)) / STANDARD["trunc2"].std)


def _by_attributes(tensors: Sequence[Tensor]) -> Iterator[Formula]:
    """One over the root of a plain number of the module that owns the tensor: `embed_dim`, `hidden_size`."""
    first = tensors[0].sampled.module.attributes()
    for name, value in first.items():
        if not name.isidentifier() or type(value) is not int or value < 4 or name in ("in_features", "out_features"):
            continue
        texts = f"1 / sqrt({name})", f"sqrt(3 / {name})"
        yield Formula(*texts, _rooted(name, 1.0), 1.5)
        yield Formula(f"1 / sqrt(3 * {name})", f"1 / sqrt({name})", _rooted(name, 3.0), 2.0)


def _rooted(name: str, factor: float) -> Callable[[Tensor], float | None]:
    def value(tensor: Tensor) -> float | None:
        found = tensor.sampled.module.attribute(name)
        return 1 / math.sqrt(factor * found) if type(found) is int and found > 0 else None

    return value


def _depths(tensors: Sequence[Tensor]) -> Iterator[tuple[str, str, Callable[[Tensor], float | None], float, bool]]:
    """`(text, list of layers, factor, penalty, whether it needs i)` of scales by depth."""
    where = _depth(tensors)
    if where is None:
        return
    yield "sqrt(2 * {})", where, lambda t: math.sqrt(2 * (t.layers or 0)) or None, 1.0, False
    yield "sqrt({})", where, lambda t: math.sqrt(t.layers or 0) or None, 2.0, False
    yield "sqrt(2 * (i + 1))", where, lambda t: math.sqrt(2 * ((t.layer or 0) + 1)), 1.0, True
    yield "sqrt(i + 1)", where, lambda t: math.sqrt((t.layer or 0) + 1), 1.5, True


def _by_deepnet(tensors: Sequence[Tensor]) -> Iterator[Formula]:
    """Glorot's scale with the gains of DeepNet, of layers of one kind and of a decoder's beside an encoder."""
    where = _depth(tensors)
    if where is None:
        return
    xavier = _by_fans(lambda i, o: math.sqrt(2 / (i + o)))
    for times in (8, 12):
        gain = f"({times} * {where}) ** -0.25"
        calls = {kind: f"xavier_{kind}(gain={gain})" for kind in ("normal", "uniform")}
        texts = f"sqrt(2 / (fan_in + fan_out)) * {gain}", f"sqrt(6 / (fan_in + fan_out)) * {gain}"
        yield Formula(*texts, _both(xavier, _deepnet_gain(times)), 2.0, calls)


def _deepnet_gain(times: int) -> Callable[[Tensor], float | None]:
    return lambda tensor: (times * (tensor.layers or 0)) ** 0.25


def _depth(tensors: Sequence[Tensor]) -> str | None:
    """How many layers the one list has that all the tensors lie in, as rules say it."""
    lists = {t.layer_list for t in tensors}
    return f"len({lists.pop()})" if len(lists) == 1 and None not in lists else None


def numbers(measured: float, error: float) -> Iterator[tuple[float, float]]:
    """`(number, penalty)`: usual ones, then rounded ones."""
    for usual in USUAL:
        if abs(measured / usual - 1) < WORST * error + 1e-9:
            yield usual, 0.0 if usual in USUAL[:6] else 0.5
    for power in range(2, 12):
        if abs(measured * 2**power - 1) < WORST * error:
            yield 2.0**-power, 3.0
    for digits, penalty in ((1, 2.0), (2, 5.0), (3, 8.0), (4, 11.0), (6, 16.0)):
        yield float(f"{measured:.{digits - 1}e}"), penalty


def _constants(measured: float, error: float) -> Iterator[Formula]:
    for value, penalty in numbers(measured, error):
        yield Formula(number(value), number(value), _over(value), penalty, fans=False)


def _over(
    value: float, factor: Callable[[Tensor], float | None] = lambda tensor: 1.0
) -> Callable[[Tensor], float | None]:
    return lambda tensor: value / (factor(tensor) or 1.0)


def formulas(
    tensors: Sequence[Tensor], kind: str, measured: list[tuple[float, float]], typical: float, error: float
) -> Iterator[Formula]:
    for formula in _constants(typical, error):
        yield replace(formula, penalty=formula.penalty + 1.0) if kind == "uniform" else formula
    one_dimensional = any(len(t.shape) < 2 for t in tensors)
    for formula in FANS:
        if not one_dimensional:
            yield formula
        elif "groups" not in formula.text:
            texts = [
                x.replace("fan_in", "fan_in(weight)").replace("fan_out", "fan_out(weight)")
                for x in (formula.text, formula.bound)
            ]
            yield Formula(texts[0], texts[1], formula.value, formula.penalty + 0.5)
    yield from _by_attributes(tensors)
    if not one_dimensional:
        yield from _by_deepnet(tensors)
    if kind == "trunc2" and not one_dimensional:
        for call, variance in VARIANCES:
            yield Formula(call, "", _by_variance(variance), 0.8, {"trunc2": call})
    for text, where, factor, penalty, needs_layer in _depths(tensors):
        factors = [factor(t) for t in tensors]
        if any(f is None for f in factors):
            continue
        weights = [1 / e**2 for _, e in measured]
        base = math.exp(
            sum(w * math.log(s * (f or 1)) for w, (s, _), f in zip(weights, measured, factors, strict=True))
            / sum(weights)
        )
        for value, cost in numbers(base, error):
            if cost > 3 and not needs_layer:  # over one number of layers any number is as good: it says nothing
                continue
            shown = f"{number(value)} / {text.format(where)}"
            yield Formula(shown, shown, _over(value, factor), cost + penalty, needs_layer=needs_layer, fans=False)
        for fan in () if one_dimensional else ("fan_in", "fan_out"):
            of_fan = _by_fans(lambda i, o, fan=fan: 1 / math.sqrt(i if fan == "fan_in" else o))  # type: ignore[misc]
            shown = f"1 / sqrt({fan}) / {text.format(where)}"
            bound = f"sqrt(3 / {fan}) / {text.format(where)}"
            yield Formula(shown, bound, _both(of_fan, factor), 2.0 + penalty, needs_layer=needs_layer)


def _both(
    one: Callable[[Tensor], float | None], under: Callable[[Tensor], float | None]
) -> Callable[[Tensor], float | None]:
    return lambda tensor: (one(tensor) or 0.0) / (under(tensor) or 1.0)
