"""What a diagnosis says of its layers, in words, and what exceeds a limit."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from initdsl.text.wording import number

from .recorder import Layer

if TYPE_CHECKING:
    from .diagnosis import Diagnosis

__all__ = [
    "NOTED_DEAD",
    "NOTED_SATURATED",
    "NOTED_SIMILARITY",
    "NOTED_UPDATE",
    "Limits",
    "Remark",
    "Trunk",
    "exceeded",
    "factor",
    "trunk_of",
    "verdict",
]


# what is worth a word in the verdict
NOTED_GROWTH = 10.0


NOTED_DEAD = 0.25


NOTED_SATURATED = 0.5


NOTED_SIMILARITY = 0.95


NOTED_UPDATE = 0.3


@dataclass(frozen=True)
class Trunk:
    """The layers of one kind that follow each other: where depth is counted.

    `growth` is the factor from the first of them to the last of the root mean square of what they put out, `grad_growth`
    that of the gradient on its way back, from the last to the first; nan where one of them is not finite or 0.
    """

    cls: str
    layers: tuple[Layer, ...]

    @property
    def growth(self) -> float:
        return _ratio(self.layers[-1].rms, self.layers[0].rms)

    @property
    def grad_growth(self) -> float:
        return _ratio(self.layers[0].grad_rms, self.layers[-1].grad_rms)

    @property
    def per_layer(self) -> float:
        return float(self.growth ** (1 / (len(self.layers) - 1)))

    @property
    def grad_per_layer(self) -> float:
        return float(self.grad_growth ** (1 / (len(self.layers) - 1)))


def _ratio(a: float, b: float) -> float:
    return a / b if b and math.isfinite(a) and math.isfinite(b) else math.nan


@dataclass(frozen=True)
class Remark:
    """One sentence of the verdict: `severity` is `fine` or `warning`, `name` what it is about."""

    name: str
    severity: str
    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Limits:
    """Thresholds for `Diagnosis.exceeded`; None: not looked at.

    `growth`: the factor by which activations or gradients may grow or shrink over the whole depth. `dead`, `saturated`:
    the share of units or values in one layer. `similarity`: the mean cosine of different samples in one layer.
    `update_ratio`: of any weight. A value that is not finite exceeds every limit.
    """

    growth: float | None = None
    dead: float | None = None
    saturated: float | None = None
    similarity: float | None = None
    update_ratio: float | None = None

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value is not None and not (value >= (1 if name == "growth" else 0)):
                raise ValueError(
                    f"a limit for {name.replace('_', ' ')} is at least {1 if name == 'growth' else 0}, not {value}"
                )


# ---- depth


# a number at the end of a step of a name: `layers.3`, `encoder_layer_3`, `layer3.0`
MOST_STAGES = 6


NUMBERED = re.compile(r"\d+(?=\.|\Z)")


def trunk_of(layers: Sequence[Layer]) -> Trunk | None:
    """The repeated layers along which depth is counted; where there are none, the layers with weight matrices.

    Repeated are at least three modules of modules of one class whose names differ in numbers. Of several such groups
    it is the one with the most weights; a few stages, whose outputs differ in shape, give way to the blocks in them.
    """
    groups: dict[tuple[str, str], list[Layer]] = {}
    for layer in layers:
        if not layer.leaf and NUMBERED.search(layer.name) and "#" not in layer.name:
            groups.setdefault((NUMBERED.sub("{}", layer.name), layer.cls), []).append(layer)
    repeated = {key: group for key, group in groups.items() if len(group) >= 3}

    def weights(key: tuple[str, str]) -> tuple[int, int]:
        return sum(layer.weights for layer in repeated[key]), -repeated[key][0].depth

    key = max(repeated, key=weights, default=None)
    while key is not None:
        group = repeated[key]
        inner = [
            k for k in repeated
            if len(group) <= MOST_STAGES and k[0].startswith(f"{key[0]}.") and len(repeated[k]) > len(group) and len({o.shape for o in group}) > 1
        ]  # fmt: skip
        if not inner:
            return Trunk(key[1], tuple(group))
        key = max(inner, key=weights)
    weighted = [layer for layer in layers if layer.weighted and layer.cls != "Embedding"]
    if len(weighted) >= 2:
        classes = {layer.cls for layer in weighted}
        return Trunk(classes.pop() if len(classes) == 1 else "layer", tuple(weighted))
    return None


# ---- words


def factor(value: float) -> str:
    """A factor as one says it: `0.83`, `3.2`, `1e-4`."""
    if not math.isfinite(value):
        return str(value)
    if value == 0:
        return "0"
    if 0.01 <= abs(value) < 1000:
        return f"{value:.3g}" if abs(value) >= 10 else number(float(f"{value:.2g}"))
    mantissa, _, power = f"{value:.0e}".partition("e")
    return f"{mantissa}e{int(power)}"


def _changes(what: str, per: float, total: float, count: int) -> Remark:
    name = what
    plural = f"{count} layers"
    if not math.isfinite(total) or total == 0:
        return Remark(name, "warning", f"{what} vanish or are not finite within {plural}")
    if max(total, 1 / total) < 1.5:
        return Remark(name, "fine", f"{what} keep their size; {plural}: {factor(total)}")
    word = "grow" if total > 1 else "shrink"
    severity = "warning" if max(total, 1 / total) > NOTED_GROWTH else "fine"
    near = factor(per) if abs(per - 1) > 0.05 else f"{per:.3g}"
    return Remark(name, severity, f"{what} {word} {near} a layer; {plural}: {factor(total)}")


def verdict(made: Diagnosis) -> Iterator[Remark]:
    layers = made.layers
    broken = [layer for layer in layers if layer.nonfinite]
    if broken:
        yield Remark("not-finite", "warning", f"activations are not finite from `{broken[0].name}` on")
    behind = [layer for layer in layers if layer.grad_nonfinite]
    if behind:
        yield Remark("not-finite", "warning", f"gradients are not finite from `{behind[-1].name}` back")
    beyond = [layer for layer in layers if layer.beyond]
    if beyond:
        yield Remark(
            "zero-output", "fine",
            f"no gradient gets behind `{beyond[0].beyond}`, which starts at 0: gradients are measured from before it on, "
            "as they are once it has moved",
        )  # fmt: skip
    trunk = made.trunk
    if trunk is not None:
        count = len(trunk.layers)
        yield _changes("activations", trunk.per_layer, trunk.growth, count)
        if any(math.isfinite(layer.grad_rms) for layer in trunk.layers):
            yield _changes("gradients", trunk.grad_per_layer, trunk.grad_growth, count)
    yield from _worst(
        layers, lambda one: one.dead, NOTED_DEAD, "dead-units",
        lambda one, value: f"{value:.0%} of the units {'before' if one.weighted else 'of'} `{one.name}` are 0 for every sample",
    )  # fmt: skip
    yield from _worst(
        layers, lambda one: one.saturated, NOTED_SATURATED, "saturation",
        lambda one, value: f"{value:.0%} of the values of `{one.name}` lie where {one.function} is flat",
    )  # fmt: skip
    yield from _collapse(made)
    alike = [layer for layer in layers if layer.symmetric]
    if alike:
        worst = max(alike, key=lambda one: (one.symmetric or 0) / (one.units or 1))
        others = f", and in {len(alike) - 1} more layers" if len(alike) > 1 else ""
        yield Remark(
            "symmetric-units", "warning",
            f"{worst.symmetric} of {worst.units} units of `{worst.name}` have the weights and gradients of another one, "
            f"and training keeps them alike{others}",
        )  # fmt: skip
    yield from _worst(
        layers, lambda one: one.update_ratio if one.update_ratio != math.inf else None, NOTED_UPDATE, "update-ratio",
        lambda one, value: f"the first update of `{one.name}` is {factor(value)} times its weight ({made.optimizer})",
    )  # fmt: skip


def _worst(
    layers: Sequence[Layer], value: Callable[[Layer], float | None], limit: float, name: str,
    text: Callable[[Layer, float], str],
) -> Iterator[Remark]:  # fmt: skip
    found = [(value(layer), layer) for layer in layers]
    over = [(v, layer) for v, layer in found if v is not None and v > limit]
    if over:
        worst, layer = max(over, key=lambda pair: pair[0])
        others = f"; {len(over) - 1} more layers are above {limit:g}" if len(over) > 1 else ""
        yield Remark(name, "warning", text(layer, worst) + others)


def _collapse(made: Diagnosis) -> Iterator[Remark]:
    """Rank collapse: different samples come out alike, having gone in different."""
    of = made.trunk.layers if made.trunk is not None else made.layers
    seen = [layer for layer in of if layer.similarity is not None and layer.rows > 2]
    if len(seen) < 2 or seen[-1].similarity is None or seen[0].similarity is None:
        return
    last, first = seen[-1], seen[0]
    assert last.similarity is not None
    assert first.similarity is not None
    if last.similarity > NOTED_SIMILARITY and last.similarity > first.similarity:
        rank = f"; their rank is {last.rank:.2g} of {min(last.rows, last.shape[-1])}" if last.rank is not None else ""
        yield Remark(
            "rank-collapse", "warning",
            f"samples come out alike: their mean cosine goes from {first.similarity:.2f} in `{first.name}` to "
            f"{last.similarity:.2f} in `{last.name}`{rank}",
        )  # fmt: skip


def exceeded(made: Diagnosis, limits: Limits) -> Iterator[str]:
    if any(layer.nonfinite or layer.grad_nonfinite for layer in made.layers):
        yield "there are values that are not finite"
    trunk = made.trunk
    if limits.growth is not None:
        if trunk is None:
            yield "growth: there are no repeated layers along which to measure it"
        else:
            grads = any(math.isfinite(layer.grad_rms) for layer in trunk.layers)
            for what, total in (("activations", trunk.growth), *((("gradients", trunk.grad_growth),) if grads else ())):
                if not (total and max(total, 1 / total) <= limits.growth):
                    yield f"growth: {what} change by {factor(total)} over {len(trunk.layers)} layers, beyond {limits.growth:g}"
    for name, limit in (
        ("dead", limits.dead), ("saturated", limits.saturated), ("similarity", limits.similarity),
        ("update_ratio", limits.update_ratio),
    ):  # fmt: skip
        if limit is None:
            continue
        over = [
            (value, layer.name)
            for layer in made.layers
            if (value := getattr(layer, name)) is not None and not value <= limit
        ]
        if over:
            value, layer_name = max(over)
            yield f"{name.replace('_', ' ')}: {factor(value)} in `{layer_name}`, above {limit:g} ({len(over)} layers)"
