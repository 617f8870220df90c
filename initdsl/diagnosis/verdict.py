"""What a diagnosis says of its layers, in words, and what exceeds a limit."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass

from initdsl.text.wording import number

from .recorder import Layer

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
    "verdict_on",
]


# what is worth a word in the verdict: a factor over the whole depth, shares of a layer's units and values, the mean
# cosine of its samples, the first update over the weight
NOTED_GROWTH, NOTED_DEAD, NOTED_SATURATED, NOTED_SIMILARITY, NOTED_UPDATE = 10.0, 0.25, 0.5, 0.95, 0.3


@dataclass(frozen=True)
class Trunk:
    """The layers of one kind that follow each other, along which depth is counted: `Trunk("Block", (layer, layer, ...))`.

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

    @property
    def has_gradients(self) -> bool:
        """Whether a gradient got back to one of them."""
        return any(math.isfinite(layer.grad_rms) for layer in self.layers)


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


# layers of so many and fewer, whose outputs differ in shape, are the stages of a network and not its blocks
MOST_STAGES = 6


# a number at the end of a step of a name: `layers.3`, `encoder_layer_3`, `layer3.0`
NUMBERED = re.compile(r"\d+(?=\.|\Z)")


def trunk_of(layers: Sequence[Layer]) -> Trunk | None:
    """Return the repeated layers along which depth is counted; where there are none, the layers with weight matrices.

    Repeated are at least three modules of modules of one class whose names differ in numbers. Of several such groups
    it is the one with the most weights; a few stages, whose outputs differ in shape, give way to the blocks in them.
    """
    layers = _of_one_branch(layers)
    repeated = {key: group for key, group in _numbered(layers).items() if len(group) >= 3}

    def weights(key: tuple[str, str]) -> tuple[int, int]:
        return sum(layer.weights for layer in repeated[key]), -repeated[key][0].depth

    key = max(repeated, key=weights, default=None)
    while key is not None:
        group = repeated[key]
        stages = len(group) <= MOST_STAGES and len({layer.shape for layer in group}) > 1
        inner = [k for k in repeated if k[0].startswith(f"{key[0]}.") and len(repeated[k]) > len(group)]
        if not (stages and inner):
            return Trunk(key[1], tuple(group))
        key = max(inner, key=weights)
    # of layers that take the same tensor, as queries, keys and values do, one counts
    met: dict[tuple[int, ...], Layer] = {}
    for layer in layers:
        if layer.weighted and layer.cls != "Embedding":
            met.setdefault(layer.given or (id(layer),), layer)
    weighted = list(met.values())
    if len(weighted) >= 2:
        classes = {layer.cls for layer in weighted}
        return Trunk(classes.pop() if len(classes) == 1 else "layer", tuple(weighted))
    return None


def _numbered(layers: Sequence[Layer]) -> dict[tuple[str, str], list[Layer]]:
    """Return modules of modules by their class and their name without numbers."""
    groups: dict[tuple[str, str], list[Layer]] = {}
    for layer in layers:
        if not layer.leaf and NUMBERED.search(layer.name) and "#" not in layer.name:
            groups.setdefault((NUMBERED.sub("{}", layer.name), layer.cls), []).append(layer)
    return groups


def _of_one_branch(layers: Sequence[Layer]) -> list[Layer]:
    """Return layers without those of all but the first of several branches, or heads, that take the same tensor."""
    others = [
        layer.name
        for group in _numbered(layers).values()
        if group[0].given and len({layer.given for layer in group}) == 1
        for layer in group[1:]
    ]
    within = tuple(f"{name}." for name in others)
    return [layer for layer in layers if layer.name not in others and not layer.name.startswith(within)]


# ---- words


def factor(value: float) -> str:
    """Return a factor as one says it: `0.83`, `3.2`, `1e-4`."""
    if not math.isfinite(value):
        return str(value)
    if value == 0:
        return "0"
    if 0.01 <= abs(value) < 1000:
        return f"{value:.3g}" if abs(value) >= 10 else number(float(f"{value:.2g}"))
    mantissa, _, power = f"{value:.0e}".partition("e")
    return f"{mantissa}e{int(power)}"


def verdict_on(layers: Sequence[Layer], trunk: Trunk | None, optimizer: str) -> tuple[Remark, ...]:
    """Return what layers show, a sentence each: what is not finite, size with depth, units, collapse, updates."""
    dead = list(_dead_network(layers))
    remarks = [
        *_not_finite(layers),
        *dead,
        *(remark for remark in _with_depth(trunk) if not (dead and remark.severity == "fine")),
        *_first_loss(layers),
        *_dead_and_saturated(layers),
        *_collapse(layers if trunk is None else trunk.layers),
        *_symmetric(layers),
        *_updates(layers, optimizer),
    ]
    return tuple(remarks) or (Remark("nothing", "fine", "nothing stands out; no two layers to compare"),)


def _not_finite(layers: Sequence[Layer]) -> Iterator[Remark]:
    broken = next((layer for layer in layers if layer.nonfinite), None)
    if broken is not None:
        yield Remark("not-finite", "warning", f"activations are not finite from `{broken.name}` on")
    behind = next((layer for layer in reversed(layers) if layer.grad_nonfinite), None)
    if behind is not None:
        yield Remark("not-finite", "warning", f"gradients are not finite from `{behind.name}` back")
    silent = next((layer.beyond for layer in layers if layer.beyond), None)
    if silent is not None:
        text = (
            f"no gradient gets behind `{silent}`, which starts at 0: gradients are measured from before it on, "
            "as they are once it has moved"
        )
        yield Remark("zero-output", "fine", text)


def _dead_network(layers: Sequence[Layer]) -> Iterator[Remark]:
    place = next((i for i, one in enumerate(layers) if one.dead == 1.0), None)
    if place is not None and not any(one.grad_rms > 0 for one in layers[:place]):
        layer = layers[place]
        units = f"the units {'before' if layer.weighted else 'of'} `{layer.name}`"
        yield Remark("dead-network", "warning", f"nothing gets through: all of {units} are 0 for every sample")


# a first loss is noted beyond so many times that of equally likely classes, and so many nats
NOTED_LOSS, NOTED_NATS = 1.5, 1.0


def _first_loss(layers: Sequence[Layer]) -> Iterator[Remark]:
    for layer in layers:
        if layer.first_loss is None or layer.classes is None or layer.classes < 2:
            continue
        even = math.log(layer.classes)
        if not layer.first_loss <= NOTED_LOSS * even + NOTED_NATS:
            text = (
                f"as logits of {layer.classes} classes the output of `{layer.name}` (std {factor(layer.std)}) starts with a "
                f"loss of {factor(layer.first_loss)}, where equal chances give ln({layer.classes}) = {factor(even)}"
            )
            yield Remark("first-loss", "warning", text)


def _with_depth(trunk: Trunk | None) -> Iterator[Remark]:
    if trunk is not None:
        yield _change("activations", trunk.per_layer, trunk.growth, len(trunk.layers))
        if trunk.has_gradients:
            yield _change("gradients", trunk.grad_per_layer, trunk.grad_growth, len(trunk.layers))


def _change(signal: str, per_layer: float, total: float, count: int) -> Remark:
    """Return how activations or gradients change with depth, by the factor of one layer and that of all of them."""
    if not math.isfinite(total) or total == 0:
        return Remark(signal, "warning", f"{signal} vanish or are not finite within {count} layers")
    if max(total, 1 / total) < 1.5:
        return Remark(signal, "fine", f"{signal} keep their size; {count} layers: {factor(total)}")
    verb = "grow" if total > 1 else "shrink"
    severity = "warning" if max(total, 1 / total) > NOTED_GROWTH else "fine"
    step = factor(per_layer) if abs(per_layer - 1) > 0.05 else f"{per_layer:.3g}"
    return Remark(signal, severity, f"{signal} {verb} {step} a layer; {count} layers: {factor(total)}")


def _dead_and_saturated(layers: Sequence[Layer]) -> Iterator[Remark]:
    worst = _worst(layers, lambda one: one.dead, NOTED_DEAD)
    if worst is not None:
        share, layer, others = worst
        units = f"the units {'before' if layer.weighted else 'of'} `{layer.name}`"
        yield Remark("dead-units", "warning", f"{share:.0%} of {units} are 0 for every sample{others}")
    worst = _worst(layers, lambda one: one.saturated, NOTED_SATURATED)
    if worst is not None:
        share, layer, others = worst
        text = f"{share:.0%} of the values of `{layer.name}` lie where {layer.function} is flat{others}"
        yield Remark("saturation", "warning", text)


def _updates(layers: Sequence[Layer], optimizer: str) -> Iterator[Remark]:
    worst = _worst(layers, lambda one: one.update_ratio if one.update_ratio != math.inf else None, NOTED_UPDATE)
    if worst is not None:
        ratio, layer, others = worst
        text = f"the first update of `{layer.name}` is {factor(ratio)} times its weight ({optimizer}){others}"
        yield Remark("update-ratio", "warning", text)


def _worst(
    layers: Sequence[Layer], value: Callable[[Layer], float | None], limit: float
) -> tuple[float, Layer, str] | None:
    """Return the largest value above a limit, its layer, and how many more there are in words; None where none is."""
    over = [(v, layer) for layer in layers if (v := value(layer)) is not None and v > limit]
    if not over:
        return None
    worst, layer = max(over, key=lambda pair: pair[0])
    return worst, layer, f"; {len(over) - 1} more layers are above {limit:g}" if len(over) > 1 else ""


def _symmetric(layers: Sequence[Layer]) -> Iterator[Remark]:
    alike = [layer for layer in layers if layer.symmetric]
    if alike:
        worst = max(alike, key=lambda one: (one.symmetric or 0) / (one.units or 1))
        others = f", and in {len(alike) - 1} more layers" if len(alike) > 1 else ""
        text = (
            f"{worst.symmetric} of {worst.units} units of `{worst.name}` have the weights and gradients of another one, "
            f"and training keeps them alike{others}"
        )
        yield Remark("symmetric-units", "warning", text)


def _collapse(layers: Sequence[Layer]) -> Iterator[Remark]:
    """Yield rank collapse: different samples come out alike, having gone in different."""
    compared = [(layer, layer.similarity) for layer in layers if layer.similarity is not None and layer.rows > 2]
    if len(compared) < 2:
        return
    (first, before), (last, after) = compared[0], compared[-1]
    if after > NOTED_SIMILARITY and after > before:
        rank = f"; their rank is {last.rank:.2g} of {min(last.rows, last.shape[-1])}" if last.rank is not None else ""
        text = (
            f"samples come out alike: their mean cosine goes from {before:.2f} in `{first.name}` to "
            f"{after:.2f} in `{last.name}`{rank}"
        )
        yield Remark("rank-collapse", "warning", text)


# ---- limits


def exceeded(layers: Sequence[Layer], trunk: Trunk | None, limits: Limits) -> Iterator[str]:
    """Yield what goes beyond the limits, in words."""
    if limits == Limits():
        return
    if any(layer.nonfinite or layer.grad_nonfinite for layer in layers):
        yield "there are values that are not finite"
    if limits.growth is not None:
        yield from _beyond_growth(trunk, limits.growth)
    values: tuple[tuple[str, float | None, Callable[[Layer], float | None]], ...] = (
        ("dead", limits.dead, lambda one: one.dead),
        ("saturated", limits.saturated, lambda one: one.saturated),
        ("similarity", limits.similarity, lambda one: one.similarity),
        ("update ratio", limits.update_ratio, lambda one: one.update_ratio),
    )
    for name, limit, value in values:
        if limit is None:
            continue
        over = [(v, layer.name) for layer in layers if (v := value(layer)) is not None and not v <= limit]
        if over:
            largest, layer_name = max(over)
            yield f"{name}: {factor(largest)} in `{layer_name}`, above {limit:g} ({len(over)} layers)"


def _beyond_growth(trunk: Trunk | None, limit: float) -> Iterator[str]:
    if trunk is None:
        yield "growth: there are no repeated layers along which to measure it"
        return
    changes = [("activations", trunk.growth), *([("gradients", trunk.grad_growth)] if trunk.has_gradients else [])]
    for signal, total in changes:
        if not (total and max(total, 1 / total) <= limit):
            yield f"growth: {signal} change by {factor(total)} over {len(trunk.layers)} layers, beyond {limit:g}"
