"""Diagnoses as plots; needs matplotlib (`pip install initdsl[plot]`)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .findings import Findings
from .recorder import Layer

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["figure"]


# curves of so many points and more are lines without marks
MOST_MARKS = 40


@dataclass(frozen=True)
class Panel:
    """One of the plots: `Panel("std of activations", lambda layer: layer.std, logarithmic=True)`.

    It follows the trunk and joins its points, or with `weights` shows every layer that has weights as a point.
    """

    title: str
    value: Callable[[Layer], float | None]
    logarithmic: bool
    weights: bool = False


PANELS = (
    Panel("std of activations", lambda one: one.std, logarithmic=True),
    Panel("std of gradients", lambda one: one.grad_std, logarithmic=True),
    Panel("mean cosine between samples", lambda one: one.similarity, logarithmic=False),
    Panel("update over weight", lambda one: one.update_ratio, logarithmic=True, weights=True),
)


def figure(sides: Sequence[Findings]) -> Figure:
    """Return a figure of one or two diagnoses: what changes with depth, a panel each.

    Raises ImportError without matplotlib.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("plots need matplotlib: pip install initdsl[plot]") from error

    first = sides[0]
    drawn = Figure(figsize=(10, 6.5), layout="constrained")
    for axes, panel in zip(drawn.subplots(2, 2).flat, PANELS, strict=True):
        _draw(axes, panel, sides)
    if len(sides) > 1:
        handles, labels = drawn.axes[0].get_legend_handles_labels()
        drawn.legend(handles, labels, loc="outside lower center", ncols=2)
    drawn.suptitle(f"{first.net}: {first.title}" if len(sides) == 1 else first.net)
    return drawn


def _draw(axes: Axes, panel: Panel, sides: Sequence[Findings]) -> None:
    values: list[float] = []
    for side, style in zip(sides, ("-", "--"), strict=False):
        points = _points(panel, side)
        values += [value for _, value in points]
        if points:
            marked = panel.weights or len(points) < MOST_MARKS
            line = "" if panel.weights else style
            axes.plot(*zip(*points, strict=True), marker="o" if marked else "", ms=3, label=side.title, ls=line)
    trunk = sides[0].trunk
    axes.set_title(panel.title, fontsize=10)
    axes.set_xlabel(f"{trunk.cls if trunk and not panel.weights else 'layer'}, in order", fontsize=8)
    if values:
        if panel.logarithmic:
            axes.set_yscale("log")
        axes.set_ylim(*_limits(values, panel.logarithmic))
    axes.grid(alpha=0.3)


# the least that an axis shows: a factor, or a difference
LEAST_FACTOR, LEAST_DIFFERENCE = 10.0, 0.2


def _limits(values: Sequence[float], logarithmic: bool) -> tuple[float, float]:
    """Return the ends of an axis on which a small change looks small."""
    low, high = (f(math.log10(v) if logarithmic else v for v in values) for f in (min, max))
    least = math.log10(LEAST_FACTOR) if logarithmic else LEAST_DIFFERENCE
    more = max(0.05 * (high - low), (least - (high - low)) / 2)
    return (10 ** (low - more), 10 ** (high + more)) if logarithmic else (low - more, high + more)


def _points(panel: Panel, side: Findings) -> list[tuple[int, float]]:
    """Return the finite values of a panel by the place of their layer; on a logarithmic scale the positive ones."""
    points = [(i, value) for i, layer in enumerate(_along(panel, side)) if (value := panel.value(layer)) is not None]
    return [(i, v) for i, v in points if math.isfinite(v) and (v > 0 or not panel.logarithmic)]


def _along(panel: Panel, side: Findings) -> Sequence[Layer]:
    if panel.weights:
        return [layer for layer in side.layers if layer.update_ratio is not None]
    return side.layers if side.trunk is None else side.trunk.layers
