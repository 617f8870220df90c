"""Which distribution, with which scale: candidates laid on what was sampled, the simplest that fits first.

A scale is measured to a known precision (a standard deviation to `sqrt((kurtosis - 1) / 4n)`, the bound of a uniform to
`1/n`), so a formula that is off by more has to go. Where several fit, how usual they are decides, and the others are
named beside the rule.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from initdsl.initializers import default_registry

from .sampling import Moments, Sampled

__all__ = ["Fit", "Tensor", "fit", "number"]


KINDS = ("normal", "uniform", "trunc2", "trunc3")


CUT = {"trunc2": 2.0, "trunc3": 3.0}


KURTOSIS = {"normal": 3.0, "uniform": 1.8, "trunc2": 2.37, "trunc3": 2.84}


USUAL = (0.02, 0.01, 0.001, 1.0, 0.1, 0.05, 0.005, 1e-6, 0.5, 0.006, 0.002, 1e-4, 1e-5)


WORST = 4.5  # standard errors a scale may be off


def _mass(cut: float) -> float:
    """The share of a normal within `cut` standard deviations."""
    return math.erf(cut / math.sqrt(2))


def _shrink(cut: float) -> float:
    """The standard deviation of a standard normal kept within `cut`."""
    density = math.exp(-cut * cut / 2) / math.sqrt(2 * math.pi)
    return math.sqrt(1 - 2 * cut * density / _mass(cut))


@dataclass(frozen=True)
class Tensor:
    """A sampled tensor and what formulas may speak of: its place `i` in its list of layers, and how that is called."""

    sampled: Sampled
    names: tuple[tuple[str, str], ...] = ()  # the class of each module that holds it, and its name there
    sibling: tuple[int, ...] | None = None  # the shape of `weight` beside it
    layer: int | None = None
    layers: int | None = None
    layer_list: str | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return self.sampled.shape

    def fans(self) -> tuple[float, float] | None:
        shape = self.shape if len(self.shape) > 1 else self.sibling
        if shape is None or len(shape) < 2:
            return None
        field_size = math.prod(shape[2:])
        return shape[1] * field_size, shape[0] * field_size


@dataclass(frozen=True)
class Fit:
    """What was found: the right-hand side `text` after `operator`, how unlikely `score`, and how sure.

    `view` stands behind the selector; `after` are statements on top, without their selector: `[padding_idx] = 0`.
    """

    operator: str
    text: str
    score: float = 0.0
    kind: str = ""
    error: float = 0.0  # relative, of the scale
    count: int = 0
    needs_layer: bool = False
    rivals: tuple[str, ...] = ()
    sure: str = "sure"
    after: tuple[str, ...] = ()
    view: str = ""


def number(value: float) -> str:
    """A number as a rule file writes it."""
    text = f"{value:.6g}"
    return text.replace("e-0", "e-").replace("e+0", "e").replace("e+", "e")


def _shortest(value: float) -> str:
    """A float32 in as few digits as give it back."""
    for digits in range(1, 10):
        text = f"{value:.{digits}g}"
        if float(torch.tensor(float(text))) == value:
            return number(float(text)) if digits <= 6 else text
    return repr(value)


# ---- kinds


def _kind(members: Sequence[Moments]) -> tuple[str, float]:
    """The most likely kind of a group, and by how much (in nats) it leads."""
    likelihood = dict.fromkeys(KINDS, 0.0)
    for m in members:
        n = float(m.count)
        spread = max(m.std, 1e-30)
        likelihood["normal"] += -n * math.log(spread) - n / 2 * math.log(2 * math.pi) - n / 2
        likelihood["uniform"] += -n * math.log(max(m.high - m.low, 1e-30))
        reach = max(m.high - m.mean, m.mean - m.low)
        for kind, cut in CUT.items():
            scale = max(reach / cut, spread / _shrink(cut))
            likelihood[kind] += (
                -n * math.log(scale)
                - n / 2 * math.log(2 * math.pi)
                - n * (spread / scale) ** 2 / 2
                - n * math.log(_mass(cut))
            )
    likelihood["trunc2"] -= 3.0  # the rarer ones
    likelihood["trunc3"] -= 6.0
    first, second = sorted(likelihood.values(), reverse=True)[:2]
    return max(likelihood, key=likelihood.__getitem__), first - second


def _follows(kind: str, members: Sequence[Moments]) -> bool:
    """Whether elements, each scaled by its tensor's, follow a kind: a Kolmogorov-Smirnov distance."""
    for m in members:
        if m.count < 30 or m.std == 0:
            continue
        values = m.some.sort().values
        n = len(values)
        if kind == "uniform":
            expected = (values - m.low) / (m.high - m.low)
        else:
            standard = (values - m.mean) / m.std
            cut = CUT.get(kind)
            standard = standard * (_shrink(cut) if cut else 1.0)
            expected = (1 + torch.erf(standard / math.sqrt(2))) / 2
            if cut:
                expected = ((expected - (1 - _mass(cut)) / 2) / _mass(cut)).clamp(0, 1)
        steps = torch.arange(1, n + 1, dtype=torch.double) / n
        distance = float(torch.maximum((steps - expected).abs(), (steps - 1 / n - expected).abs()).max())
        if distance * math.sqrt(n) > 2.3:
            return False
    return True


def _scale(kind: str, m: Moments) -> tuple[float, float]:
    """The measured parameter of a kind (bound of a uniform, `std` of a normal) and its relative standard error."""
    if kind == "uniform":
        middle = _middle(m)
        reach = (m.high - m.low) / 2 if middle else m.reach
        return reach * (1 + 1 / (m.count + 1)), max(1.5 / m.count, 2e-6)
    error = math.sqrt((KURTOSIS[kind] - 1) / (4 * m.count))
    return m.std / (_shrink(CUT[kind]) if kind in CUT else 1.0), max(error, 2e-6)


def _middle(m: Moments) -> bool:
    """Whether the mean is not zero."""
    return abs(m.mean) > 4.5 * m.std / math.sqrt(m.count)


# ---- formulas of the scale


@dataclass(frozen=True)
class _Formula:
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
    _Formula(
        "sqrt(2 / fan_out)", "sqrt(6 / fan_out)", _by_fans(lambda i, o: math.sqrt(2 / o)), 1.0,
        {"normal": "kaiming_normal(mode=fan_out, nonlinearity=relu)", "uniform": "kaiming_uniform(mode=fan_out, nonlinearity=relu)"},
    ),
    _Formula(
        "sqrt(2 / fan_in)", "sqrt(6 / fan_in)", _by_fans(lambda i, o: math.sqrt(2 / i)), 1.0,
        {"normal": "kaiming_normal(nonlinearity=relu)", "uniform": "kaiming_uniform(nonlinearity=relu)"},
    ),
    _Formula(
        "sqrt(2 / (fan_in + fan_out))", "sqrt(6 / (fan_in + fan_out))", _by_fans(lambda i, o: math.sqrt(2 / (i + o))), 1.0,
        {"normal": "xavier_normal()", "uniform": "xavier_uniform()"},
    ),
    _Formula(
        "1 / sqrt(3 * fan_in)", "1 / sqrt(fan_in)", _by_fans(lambda i, o: 1 / math.sqrt(3 * i)), 1.2,
        {"uniform": "kaiming_uniform(a=sqrt(5))"},
    ),
    _Formula("1 / sqrt(fan_in)", "sqrt(3 / fan_in)", _by_fans(lambda i, o: 1 / math.sqrt(i)), 1.1, {"uniform": "lecun_uniform()"}),
    _Formula("1 / sqrt(fan_out)", "sqrt(3 / fan_out)", _by_fans(lambda i, o: 1 / math.sqrt(o)), 1.6),
    _Formula("1 / sqrt(3 * fan_out)", "1 / sqrt(fan_out)", _by_fans(lambda i, o: 1 / math.sqrt(3 * o)), 1.6),
    _Formula("sqrt(2 * groups / fan_out)", "sqrt(6 * groups / fan_out)", _groups, 0.9),
    _Formula("sqrt(2 / (5 * fan_in))", "sqrt(6 / (5 * fan_in))", _by_fans(lambda i, o: math.sqrt(2 / (5 * i))), 2.5),
    _Formula("sqrt(2 / (fan_in + fan_out / 3))", "sqrt(6 / (fan_in + fan_out / 3))", _by_fans(lambda i, o: math.sqrt(2 / (i + o / 3))), 2.5),
    _Formula("sqrt(2 / (fan_in + fan_out / 4))", "sqrt(6 / (fan_in + fan_out / 4))", _by_fans(lambda i, o: math.sqrt(2 / (i + o / 4))), 2.6),
    _Formula("1 / sqrt(2 * fan_in)", "sqrt(3 / (2 * fan_in))", _by_fans(lambda i, o: 1 / math.sqrt(2 * i)), 2.5),
)  # fmt: skip


# truncated normals by the variance of what is left, as in JAX
VARIANCES = (
    ("lecun_normal()", lambda i, o: 1 / i), ("variance_scaling(2, fan_in, truncated_normal)", lambda i, o: 2 / i),
    ("variance_scaling(2, fan_out, truncated_normal)", lambda i, o: 2 / o),
    ("variance_scaling(1, fan_avg, truncated_normal)", lambda i, o: 2 / (i + o)),
)  # fmt: skip


def _by_variance(variance: Callable[[float, float], float]) -> Callable[[Tensor], float | None]:
    return _by_fans(lambda i, o: math.sqrt(variance(i, o)) / _shrink(2.0))


def _by_attributes(tensors: Sequence[Tensor]) -> Iterator[_Formula]:
    """One over the root of a plain number of the module that owns the tensor: `embed_dim`, `hidden_size`."""
    first = tensors[0].sampled.module.attributes()
    for name, value in first.items():
        if not name.isidentifier() or type(value) is not int or value < 4 or name in ("in_features", "out_features"):
            continue
        texts = f"1 / sqrt({name})", f"sqrt(3 / {name})"
        yield _Formula(*texts, _rooted(name, 1.0), 1.5)
        yield _Formula(f"1 / sqrt(3 * {name})", f"1 / sqrt({name})", _rooted(name, 3.0), 2.0)


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


def _by_deepnet(tensors: Sequence[Tensor]) -> Iterator[_Formula]:
    """Glorot's scale with the gains of DeepNet, of layers of one kind and of a decoder's beside an encoder."""
    where = _depth(tensors)
    if where is None:
        return
    xavier = _by_fans(lambda i, o: math.sqrt(2 / (i + o)))
    for times in (8, 12):
        gain = f"({times} * {where}) ** -0.25"
        calls = {kind: f"xavier_{kind}(gain={gain})" for kind in ("normal", "uniform")}
        texts = f"sqrt(2 / (fan_in + fan_out)) * {gain}", f"sqrt(6 / (fan_in + fan_out)) * {gain}"
        yield _Formula(*texts, _both(xavier, _deepnet_gain(times)), 2.0, calls)


def _deepnet_gain(times: int) -> Callable[[Tensor], float | None]:
    return lambda tensor: (times * (tensor.layers or 0)) ** 0.25


def _depth(tensors: Sequence[Tensor]) -> str | None:
    """How many layers the one list has that all the tensors lie in, as rules say it."""
    lists = {t.layer_list for t in tensors}
    return f"len({lists.pop()})" if len(lists) == 1 and None not in lists else None


def _numbers(measured: float, error: float) -> Iterator[tuple[float, float]]:
    """`(number, penalty)`: usual ones, then rounded ones."""
    for usual in USUAL:
        if abs(measured / usual - 1) < WORST * error + 1e-9:
            yield usual, 0.0 if usual in USUAL[:6] else 0.5
    for power in range(2, 12):
        if abs(measured * 2**power - 1) < WORST * error:
            yield 2.0**-power, 3.0
    for digits, penalty in ((1, 2.0), (2, 5.0), (3, 8.0), (4, 11.0), (6, 16.0)):
        yield float(f"{measured:.{digits - 1}e}"), penalty


def _constants(measured: float, error: float) -> Iterator[_Formula]:
    for value, penalty in _numbers(measured, error):
        yield _Formula(number(value), number(value), _over(value), penalty, fans=False)


def _over(
    value: float, factor: Callable[[Tensor], float | None] = lambda tensor: 1.0
) -> Callable[[Tensor], float | None]:
    return lambda tensor: value / (factor(tensor) or 1.0)


# ---- a group


def fit(tensors: Sequence[Tensor]) -> Fit | None:
    """One right-hand side for all of a group, or None where none is right for all."""
    first = tensors[0].sampled
    kinds = {t.sampled.kind for t in tensors}
    if len(kinds) != 1:
        return None
    kind = kinds.pop()
    count = sum(t.sampled.tensor.numel for t in tensors)
    if kind == "constant":
        if len({t.sampled.value for t in tensors}) != 1:
            return None
        return Fit("=", _shortest(first.value), count=count)
    if kind == "fixed":
        return _fixed(tensors, count)
    after = _rows(tensors)
    if after is None:
        return None
    if kind == "orthogonal":
        return _orthogonal(tensors, count)
    if any(t.sampled.parts for t in tensors):
        return _in_parts(tensors, count)
    found = _drawn(tensors, count)
    return None if found is None else Fit(**{**found.__dict__, "after": after})


def _in_parts(tensors: Sequence[Tensor], count: int) -> Fit | None:
    """A rule for most parts of a tensor, and for the others rules on top."""
    counts = {len(t.sampled.parts) for t in tensors}
    widths = {math.prod(t.shape[1:]) for t in tensors}
    if len(counts) != 1 or len(widths) != 1:
        return None
    (number_of,) = counts
    parts = [[replace(t, sampled=t.sampled.parts[j]) for t in tensors] for j in range(number_of)]
    found = [fit(part) for part in parts]
    fits = [one for one in found if one is not None and not (one.after or one.view)]
    if len(fits) != number_of:
        return None
    view = f" as ({number_of}, -1)" if len(tensors[0].shape) == 1 else f" as ({number_of}, -1, {widths.pop()})"
    said = [f"{one.operator} {one.text}" for one in fits]
    common = max(fits, key=lambda one: said.count(f"{one.operator} {one.text}"))
    after, opposites = [], []
    for j, one in enumerate(fits):
        other = next((k for k in range(number_of) if one.operator == "~" and _opposite(parts[j], parts[k])), j)
        if other > j:
            opposites.append(f"{view} = where(index(0) == {j}, -it[{other}:{other + 1}], it)")
        elif said[j] != f"{common.operator} {common.text}":
            after.append(f"{view}[{j}] {said[j]}")
    worst = max(fits, key=lambda one: (("sure", "likely", "guess").index(one.sure), one.error))
    return replace(
        common, view=f"{view}[*]" if common.operator == "~" else "", after=(*after, *opposites), count=count,
        error=worst.error, sure=worst.sure, rivals=worst.rivals, needs_layer=any(one.needs_layer for one in fits),
    )  # fmt: skip


def _opposite(part: Sequence[Tensor], other: Sequence[Tensor]) -> bool:
    return all(torch.equal(a.sampled.first, -b.sampled.first) for a, b in zip(part, other, strict=True))


def _rows(tensors: Sequence[Tensor]) -> tuple[str, ...] | None:
    """The slices that hold one value in a drawn tensor, said of all of a group."""
    if not any(t.sampled.rows for t in tensors):
        return ()
    padded = []
    for t in tensors:
        row = t.sampled.module.attribute("padding_idx")
        row = row % t.shape[0] if isinstance(row, int) else None
        padded.append((set(t.sampled.rows) - {row}, set(t.sampled.rows.values()), row))
    if all(
        not others and values <= {0.0} and (row is None or row in t.sampled.rows)
        for (others, values, row), t in zip(padded, tensors, strict=True)
    ):
        return ("[padding_idx] = 0",)
    rows = [tuple(sorted(t.sampled.rows.items())) for t in tensors]
    if len(set(rows)) != 1:
        return None
    return tuple(f"[{row}] = {number(value)}" for row, value in rows[0])


def _fixed(tensors: Sequence[Tensor], count: int) -> Fit | None:
    """What no draw moves: an identity, a formula of the place, stretches of constants."""
    values = [t.sampled.first for t in tensors]
    if all(v.ndim == 2 and torch.equal(v, torch.eye(*v.shape)) for v in values):
        return Fit("=", "eye()", count=count)
    if all(3 <= v.ndim <= 5 and torch.equal(v, _dirac(v)) for v in values):
        return Fit("=", "dirac()", count=count)
    for call in SINUSOIDS:
        if all(v.ndim > 1 and _is_table(v, call) for v in values):
            said = ", ".join(f"{name}={str(value).lower()}" for name, value in call.items())
            return Fit("=", f"sinusoidal({said})", count=count)
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
    made = torch.empty_like(like)
    default_registry()["dirac"].function(made, groups=1)
    return made


SINUSOIDS: tuple[dict[str, Any], ...] = tuple(
    layout | end for layout in ({}, {"layout": "halves"}) for end in ({}, {"endpoint": True})
)


def _is_table(values: torch.Tensor, call: dict[str, Any]) -> bool:
    """Whether it is a sinusoidal table; libraries work out angles in float32, so their errors grow with the position."""
    made = torch.empty_like(values)
    default_registry()["sinusoidal"].function(made, **call)
    return torch.allclose(made, values, rtol=0, atol=1e-6 * values.shape[-2])


def _index(values: torch.Tensor, d: int) -> torch.Tensor:
    return torch.arange(values.shape[d], dtype=torch.float32).view([-1 if k == d else 1 for k in range(values.ndim)])


def _runs(values: torch.Tensor) -> list[tuple[int, int, float]] | None:
    """Stretches along dimension 0 that hold one value each, if they are few."""
    rows = values.flatten(1) if values.ndim > 1 else values[:, None] if values.ndim else values.view(1, 1)
    if not bool((rows == rows[:, :1]).all()):
        return None
    column = rows[:, 0].tolist()
    cuts = [0, *(k for k in range(1, len(column)) if column[k] != column[k - 1]), len(column)]
    return [(a, b, column[a]) for a, b in itertools.pairwise(cuts)] if len(cuts) <= 7 else None


def _orthogonal(tensors: Sequence[Tensor], count: int) -> Fit | None:
    gains, blocks = [t.sampled.gain for t in tensors], {t.sampled.blocks for t in tensors}
    if len(blocks) != 1 or max(gains) - min(gains) > 1e-3 * max(gains):
        return None
    gain = sum(gains) / len(gains)
    text = (
        "1" if abs(gain - 1) < 1e-4 else "sqrt(2)" if abs(gain - math.sqrt(2)) < 1e-4 else number(float(f"{gain:.4g}"))
    )
    view = "" if blocks == {1} else f" as ({blocks.pop()}, -1, {math.prod(tensors[0].shape[1:])})[*]"
    return Fit("~", "orthogonal()" if text == "1" else f"orthogonal({text})", view=view, count=count)


def _drawn(tensors: Sequence[Tensor], count: int) -> Fit | None:
    members = [t.sampled.moments for t in tensors if t.sampled.moments is not None]
    kind, lead = _kind(members)
    middles = [_middle(m) for m in members]
    if not _follows(kind, members):
        return _log_uniform(members, count)
    measured = [_scale(kind, m) for m in members]
    if any(scale == 0 for scale, _ in measured):
        return None
    weight = [1 / error**2 for _, error in measured]
    typical = math.exp(sum(w * math.log(s) for w, (s, _) in zip(weight, measured, strict=True)) / sum(weight))
    error = 1 / math.sqrt(sum(weight))
    mean = sum(m.mean * m.count for m in members) / sum(m.count for m in members)
    if any(middles):
        return _off_centre(members, kind, mean, typical, error, count, _sure(error, lead, True))
    fits: list[tuple[float, str, _Formula]] = []
    for formula in _formulas(tensors, kind, measured, typical, error):
        score = _score(formula, tensors, kind, measured)
        if score is not None:
            fits.append((score + formula.penalty, _call(formula, kind), formula))
    default = _default_score(tensors, kind, measured)
    if default is not None:
        fits.append((default + 0.5, "default", _Formula("", "", lambda t: None, 0.5)))
    if not fits:
        return None
    fits.sort(key=lambda f: f[0])
    score, text, formula = fits[0]
    rivals = tuple(
        dict.fromkeys(t for s, t, f in fits[1:] if s < score + 3 and t != text and (f.fans or f.penalty < 2))
    )[:2]
    sure = "guess" if formula.penalty > 7 else _sure(error, lead, bool(rivals) and text != "default")
    operator = "default" if text == "default" else "~"
    return Fit(operator, text, score, kind, error, count, formula.needs_layer, rivals, sure)


def _formulas(
    tensors: Sequence[Tensor], kind: str, measured: list[tuple[float, float]], typical: float, error: float
) -> Iterator[_Formula]:
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
            yield _Formula(texts[0], texts[1], formula.value, formula.penalty + 0.5)
    yield from _by_attributes(tensors)
    if not one_dimensional:
        yield from _by_deepnet(tensors)
    if kind == "trunc2" and not one_dimensional:
        for call, variance in VARIANCES:
            yield _Formula(call, "", _by_variance(variance), 0.8, {"trunc2": call})
    for text, where, factor, penalty, needs_layer in _depths(tensors):
        factors = [factor(t) for t in tensors]
        if any(f is None for f in factors):
            continue
        weights = [1 / e**2 for _, e in measured]
        base = math.exp(
            sum(w * math.log(s * (f or 1)) for w, (s, _), f in zip(weights, measured, factors, strict=True))
            / sum(weights)
        )
        for value, cost in _numbers(base, error):
            if cost > 3 and not needs_layer:  # over one number of layers any number is as good: it says nothing
                continue
            shown = f"{number(value)} / {text.format(where)}"
            yield _Formula(shown, shown, _over(value, factor), cost + penalty, needs_layer=needs_layer, fans=False)
        for fan in () if one_dimensional else ("fan_in", "fan_out"):
            of_fan = _by_fans(lambda i, o, fan=fan: 1 / math.sqrt(i if fan == "fan_in" else o))  # type: ignore[misc]
            shown = f"1 / sqrt({fan}) / {text.format(where)}"
            bound = f"sqrt(3 / {fan}) / {text.format(where)}"
            yield _Formula(shown, bound, _both(of_fan, factor), 2.0 + penalty, needs_layer=needs_layer)


def _both(
    one: Callable[[Tensor], float | None], under: Callable[[Tensor], float | None]
) -> Callable[[Tensor], float | None]:
    return lambda tensor: (one(tensor) or 0.0) / (under(tensor) or 1.0)


def _score(
    formula: _Formula, tensors: Sequence[Tensor], kind: str, measured: list[tuple[float, float]]
) -> float | None:
    """Half the squared deviations in standard errors; None where one tensor is off too far."""
    score = 0.0
    for tensor, (scale, error) in zip(tensors, measured, strict=True):
        expected = formula.value(tensor)
        if expected is None or expected <= 0:
            return None
        if kind == "uniform" and formula.fans:
            expected *= math.sqrt(3)
        off = (scale / expected - 1) / (error + 3e-7)
        if off > (1 if kind == "uniform" else WORST) or off < (-3 * WORST if kind == "uniform" else -WORST):
            return None
        score += max(0.0, 1 - 1.5 * off) if kind == "uniform" else off * off / 2
    return score


def _default_score(tensors: Sequence[Tensor], kind: str, measured: list[tuple[float, float]]) -> float | None:
    score = 0.0
    defaults = [t.sampled.default for t in tensors]
    known = [d for d in defaults if isinstance(d, Moments)]
    if len(known) != len(defaults) or _kind(known)[0] != kind:
        return None
    for (scale, error), default in zip(measured, known, strict=True):
        its, its_error = _scale(kind, default)
        off = (scale / its - 1) / math.hypot(error, its_error)
        if abs(off) > WORST + (5 if kind == "uniform" else 0) or _middle(default):
            return None
        score += abs(off) if kind == "uniform" else off * off / 2
    return score


def _call(formula: _Formula, kind: str) -> str:
    if kind in formula.calls:
        return formula.calls[kind]
    if kind == "uniform":
        return f"uniform(-{formula.bound}, {formula.bound})"
    if kind == "normal":
        return f"normal(0, {formula.text})"
    bounds = "" if kind == "trunc2" else ", -3, 3"
    return f"trunc_normal_sd(0, {formula.text}{bounds})"


def _sure(error: float, lead: float, doubtful: bool) -> str:
    """How sure a rule is, by the precision of its scale and how far the next kind of distribution is behind."""
    if error > 0.05 or lead < 2:
        return "guess"
    return "likely" if doubtful or lead < 5 else "sure"


def _log_uniform(members: Sequence[Moments], count: int) -> Fit | None:
    """Logarithms of uniform draws, or their opposites: the gates of a chrono initialisation."""
    if any(m.reach > 60 for m in members):
        return None
    for sign, text in ((1, "log"), (-1, "-log")):
        moved = [_exponentials(m, sign) for m in members]
        if not _follows("uniform", moved):
            continue
        scale, error = _scale("uniform", max(moved, key=lambda m: m.count))
        mean = sum(m.mean * m.count for m in moved) / sum(m.count for m in moved)
        # its ends are near the extremes, but which round numbers near there they are can't be told
        found = _off_centre(moved, "uniform", mean, scale, error, count, _sure(error, 5, doubtful=True))
        if found is not None and not found.text.startswith(("uniform(0,", "uniform(-")):  # log(0) is no number
            return replace(found, text=f"{text}({found.text})")
    return None


def _exponentials(m: Moments, sign: int) -> Moments:
    some = (sign * m.some).exp()
    ends = sorted(math.exp(sign * end) for end in (m.low, m.high))
    return Moments(m.count, float(some.mean()), float(some.std(correction=0)), ends[0], ends[1], some)


def _off_centre(
    members: Sequence[Moments], kind: str, mean: float, typical: float, error: float, count: int, sure: str
) -> Fit | None:
    """Draws around something else than zero: numbers only."""
    spread = [s / typical - 1 for s, _ in (_scale(kind, m) for m in members)]
    if any(
        abs(s) > WORST * _scale(kind, m)[1] * (3 if kind == "uniform" else 1)
        for s, m in zip(spread, members, strict=True)
    ):
        return None
    if any(abs(m.mean - mean) > 5 * m.std / math.sqrt(m.count) for m in members):
        return None
    if kind == "uniform":
        low, high = min(m.low for m in members), max(m.high for m in members)
        width = high - low
        texts = [_nice(x, width * 6 / sum(m.count for m in members)) for x in (low, high)]
        return Fit("~", f"uniform({texts[0]}, {texts[1]})", kind=kind, error=error, count=count, sure=sure)
    total = sum(m.count for m in members)
    middle = _nice(mean, 4 * typical / math.sqrt(total))
    scale = next(n for n, _ in _numbers(typical, error) if abs(typical / n - 1) < WORST * error)
    name = "normal" if kind == "normal" else "trunc_normal_sd"
    more = ", -3, 3" if kind == "trunc3" else ""
    return Fit("~", f"{name}({middle}, {number(scale)}{more})", kind=kind, error=error, count=count, sure=sure)


def _nice(value: float, slack: float) -> str:
    """The roundest number that is as near as `slack`."""
    for decimals in range(-6, 12):
        rounded = round(value, decimals)
        if abs(rounded - value) <= slack:
            return number(rounded)
    return number(value)
