"""Which distribution, with which scale: candidates laid on what was sampled, the simplest that fits first.

A scale is measured to a known precision (a standard deviation to `sqrt((kurtosis - 1) / 4n)`, the bound of a uniform to
`1/n`), so a formula that is off by more has to go. Where several fit, how usual they are decides, and the others are
named beside the rule.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch

from initdsl.text.wording import number

from .fixed import fit_fixed, fit_orthogonal
from .formulas import Formula, formulas, numbers
from .kinds import WORST, confidence, follows, is_off_centre, kind_of, round_text, scale_of
from .sampling import Drawn
from .tensor import Fit, Tensor

__all__ = ["fit"]


def _shortest(value: float) -> str:
    """Return a float32 in as few digits as give it back."""
    for digits in range(1, 10):
        text = f"{value:.{digits}g}"
        if float(torch.tensor(float(text))) == value:
            return number(float(text)) if digits <= 6 else text
    return repr(value)


def fit(tensors: Sequence[Tensor]) -> Fit | None:
    """Return one right-hand side for all of a group, or None where none is right for all."""
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
        return fit_fixed(tensors, count)
    after = _rows(tensors)
    if after is None:
        return None
    if kind == "orthogonal":
        return fit_orthogonal(tensors, count)
    if any(t.sampled.parts for t in tensors):
        return _in_parts(tensors, count)
    right = _drawn(tensors, count)
    return None if right is None else replace(right, after=after)


def _in_parts(tensors: Sequence[Tensor], count: int) -> Fit | None:
    """Return a rule for most parts of a tensor, with rules on top for the others."""
    counts = {len(t.sampled.parts) for t in tensors}
    widths = {math.prod(t.shape[1:]) for t in tensors}
    if len(counts) != 1 or len(widths) != 1:
        return None
    (part_count,) = counts
    parts = [[replace(t, sampled=t.sampled.parts[j]) for t in tensors] for j in range(part_count)]
    fits = [one for part in parts if (one := fit(part)) is not None and not (one.after or one.view)]
    if len(fits) != part_count:
        return None
    view = f" as ({part_count}, -1)" if len(tensors[0].shape) == 1 else f" as ({part_count}, -1, {widths.pop()})"
    rights = [f"{one.operator} {one.text}" for one in fits]
    common = max(fits, key=lambda one: rights.count(f"{one.operator} {one.text}"))
    after, opposites = [], []
    for j, one in enumerate(fits):
        other = next((k for k in range(part_count) if one.operator == "~" and _opposite(parts[j], parts[k])), j)
        if other > j:
            opposites.append(f"{view} = where(index(0) == {j}, -it[{other}:{other + 1}], it)")
        elif rights[j] != f"{common.operator} {common.text}":
            after.append(f"{view}[{j}] {rights[j]}")
    worst = max(fits, key=lambda one: (("sure", "likely", "guess").index(one.sure), one.error))
    return replace(
        common,
        view=f"{view}[*]" if common.operator == "~" else "",
        after=(*after, *opposites),
        count=count,
        error=worst.error,
        sure=worst.sure,
        rivals=worst.rivals,
        needs_layer=any(one.needs_layer for one in fits),
    )


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


def _drawn(tensors: Sequence[Tensor], count: int) -> Fit | None:
    members = [t.sampled.moments for t in tensors if t.sampled.moments is not None]
    kind, lead = kind_of(members)
    middles = [is_off_centre(m) for m in members]
    if not follows(kind, members):
        return _log_uniform(members, count)
    measured = [scale_of(kind, m) for m in members]
    if any(scale == 0 for scale, _ in measured):
        return None
    weight = [1 / error**2 for _, error in measured]
    typical = math.exp(sum(w * math.log(s) for w, (s, _) in zip(weight, measured, strict=True)) / sum(weight))
    error = 1 / math.sqrt(sum(weight))
    mean = sum(m.mean * m.count for m in members) / sum(m.count for m in members)
    if any(middles):
        return _off_centre(members, kind, mean, typical, error, count, confidence(error, lead, True))
    fits: list[tuple[float, str, Formula]] = []
    for formula in formulas(tensors, kind, measured, typical, error):
        score = score_of(formula, tensors, kind, measured)
        if score is not None:
            fits.append((score + formula.penalty, _call(formula, kind), formula))
    default = _default_score(tensors, kind, measured)
    if default is not None:
        fits.append((default + 0.5, "default", Formula("", "", lambda t: None, 0.5)))
    if not fits:
        return None
    fits.sort(key=lambda f: f[0])
    score, text, formula = fits[0]
    near = [
        (t, f) for s, t, f in fits[1:] if s < score + 3 and t != text and (f.fans or f.digits is None or f.penalty < 2)
    ]
    near += _simpler(tensors, formula, fits[1:])
    rivals = tuple(dict.fromkeys(t for t, _ in near))[:2]
    sure = confidence(error, lead, text != "default" and (bool(rivals) or _is_a_number_alone(tensors, formula)))
    if (formula.digits or 0) > 2 and len(_kinds_of_shapes(tensors)) == 1:
        sure = "guess"
    operator = "default" if text == "default" else "~"
    return Fit(operator, text, score, kind, error, count, formula.needs_layer, rivals, sure)


def _kinds_of_shapes(tensors: Sequence[Tensor]) -> set[object]:
    return {tensor.fans() for tensor in tensors}


class Scale(NamedTuple):
    """What the draws of some tensors have in common: `Scale("normal", 0.02, error=0.001, fans=frozenset({(64, 256)}))`."""

    kind: str
    scale: float
    error: float
    fans: frozenset[object]


def common_scale(tensors: Sequence[Tensor]) -> Scale | None:
    """Return the kind of distribution of tensors, the scale they share and its relative error; None where they share none."""
    members = [t.sampled.moments for t in tensors if t.sampled.moments is not None]
    kind, _ = kind_of(members)
    measured = [scale_of(kind, m) for m in members]
    if any(scale == 0 for scale, _ in measured) or any(map(is_off_centre, members)):
        return None
    weights = [1 / error**2 for _, error in measured]
    typical = math.exp(sum(w * math.log(s) for w, (s, _) in zip(weights, measured, strict=True)) / sum(weights))
    if any(abs(scale / typical - 1) > WORST * error for scale, error in measured):
        return None
    return Scale(
        kind, typical, 1 / math.sqrt(sum(weights)), frozenset((t.fans(), t.sampled.module.cls.name) for t in tensors)
    )


def numbers_of_several(measured: Sequence[Scale]) -> Iterator[float]:
    """Yield the roundest number for each scale that is measured at several places, whose fans or classes differ."""
    left = sorted(measured, key=lambda one: one.error)
    while left:
        kind, typical, error, _ = left[0]
        alike = [s for s in left if s.kind == kind and abs(s.scale / typical - 1) < WORST * math.hypot(error, s.error)]
        left = [one for one in left if one not in alike]
        if len(frozenset[object]().union(*(one.fans for one in alike))) > 1:
            yield next(n for n, _ in numbers(typical, error) if abs(n / typical - 1) < WORST * error)


def _simpler(
    tensors: Sequence[Tensor], formula: Formula, others: Sequence[tuple[float, str, Formula]]
) -> list[tuple[str, Formula]]:
    """Return the plain number that does as well as a formula, where that gives all tensors one scale: then no one can tell."""
    if formula.digits is not None or len({formula.value(tensor) for tensor in tensors}) > 1:
        return []
    return [(text, other) for _, text, other in others if other.digits is not None and other.digits <= 3][:1]


def _is_a_number_alone(tensors: Sequence[Tensor], formula: Formula) -> bool:
    """Return whether a number of several digits is seen in tensors of one shape alone: a formula may give it too."""
    return (formula.digits or 0) > 1 and len(_kinds_of_shapes(tensors)) == 1


def score_of(
    formula: Formula, tensors: Sequence[Tensor], kind: str, measured: list[tuple[float, float]]
) -> float | None:
    """Return half the squared deviations in standard errors; None where one tensor is off too far."""
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
    drawn = [d for d in defaults if isinstance(d, Drawn)]
    if len(drawn) != len(defaults) or kind_of(drawn)[0] != kind:
        return None
    for (scale, error), default in zip(measured, drawn, strict=True):
        its, its_error = scale_of(kind, default)
        off = (scale / its - 1) / math.hypot(error, its_error)
        if abs(off) > WORST + (5 if kind == "uniform" else 0) or is_off_centre(default):
            return None
        score += abs(off) if kind == "uniform" else off * off / 2
    return score


def _call(formula: Formula, kind: str) -> str:
    if kind in formula.calls:
        return formula.calls[kind]
    if kind == "uniform":
        return f"uniform(-{formula.bound}, {formula.bound})"
    if kind == "normal":
        return f"normal(0, {formula.text})"
    bounds = "" if kind == "trunc2" else ", -3, 3"
    return f"trunc_normal_sd(0, {formula.text}{bounds})"


def _log_uniform(members: Sequence[Drawn], count: int) -> Fit | None:
    """Return logarithms of uniform draws, or their opposites: the gates of a chrono initialization."""
    if any(m.reach > 60 for m in members):
        return None
    for sign, text in ((1, "log"), (-1, "-log")):
        moved = [_exponentials(m, sign) for m in members]
        if not follows("uniform", moved):
            continue
        scale, error = scale_of("uniform", max(moved, key=lambda m: m.count))
        mean = sum(m.mean * m.count for m in moved) / sum(m.count for m in moved)
        # its ends are near the extremes, but which round numbers near there they are can't be told
        right = _off_centre(moved, "uniform", mean, scale, error, count, confidence(error, 5, doubtful=True))
        if right is not None and not right.text.startswith(("uniform(0,", "uniform(-")):  # log(0) is no number
            return replace(right, text=f"{text}({right.text})")
    return None


def _exponentials(m: Drawn, sign: int) -> Drawn:
    some = (sign * m.some).exp()
    ends = sorted(math.exp(sign * end) for end in (m.low, m.high))
    return Drawn(m.count, float(some.mean()), float(some.std(correction=0)), ends[0], ends[1], some=some)


def _off_centre(
    members: Sequence[Drawn], kind: str, mean: float, typical: float, error: float, count: int, sure: str
) -> Fit | None:
    """Return draws around something else than zero, in numbers: no formula is known for those."""
    spread = [s / typical - 1 for s, _ in (scale_of(kind, m) for m in members)]
    if any(
        abs(s) > WORST * scale_of(kind, m)[1] * (3 if kind == "uniform" else 1)
        for s, m in zip(spread, members, strict=True)
    ):
        return None
    if any(abs(m.mean - mean) > 5 * m.std / math.sqrt(m.count) for m in members):
        return None
    if kind == "uniform":
        low, high = min(m.low for m in members), max(m.high for m in members)
        width = high - low
        texts = [round_text(x, width * 6 / sum(m.count for m in members)) for x in (low, high)]
        return Fit("~", f"uniform({texts[0]}, {texts[1]})", kind=kind, error=error, count=count, sure=sure)
    total = sum(m.count for m in members)
    middle = round_text(mean, 4 * typical / math.sqrt(total))
    scale = next(n for n, _ in numbers(typical, error) if abs(typical / n - 1) < WORST * error)
    name = "normal" if kind == "normal" else "trunc_normal_sd"
    more = ", -3, 3" if kind == "trunc3" else ""
    return Fit("~", f"{name}({middle}, {number(scale)}{more})", kind=kind, error=error, count=count, sure=sure)
