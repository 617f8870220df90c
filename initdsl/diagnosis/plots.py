"""Diagnoses as plots; needs matplotlib (`pip install initdsl[plot]`)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from .diagnosis import Diagnosis
from .recorder import Layer

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["figure"]


PANELS: tuple[tuple[str, Callable[[Layer], float | None], bool], ...] = (
    ("std of activations", lambda one: one.std, True),
    ("std of gradients", lambda one: one.grad_std, True),
    ("mean cosine between samples", lambda one: one.similarity, False),
    ("update over weight", lambda one: one.update_ratio, True),
)


def figure(made: Sequence[Diagnosis]) -> Figure:
    """A figure of one or two diagnoses: what changes with depth, a panel each, along the trunk or all layers."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("plots need matplotlib: pip install initdsl[plot]") from error

    drawn = Figure(figsize=(10, 6.5), layout="constrained")
    axes = drawn.subplots(2, 2).flat
    for axis, (title, value, logarithmic) in zip(axes, PANELS, strict=True):
        for number, one in enumerate(made):
            points = [
                (i, v)
                for i, layer in enumerate(along(one, title))
                if (v := value(layer)) is not None and math.isfinite(v)
            ]
            if logarithmic:
                points = [(i, v) for i, v in points if v > 0]
            if points:
                axis.plot(
                    *zip(*points, strict=True),
                    marker="o" if len(points) < 40 or title == PANELS[3][0] else "",
                    ms=3,
                    label=one.title,
                    ls="" if title == PANELS[3][0] else ("-", "--")[number % 2],
                )
        axis.set_title(title, fontsize=10)
        axis.set_xlabel(
            f"{made[0].trunk.cls if made[0].trunk and title != PANELS[3][0] else 'layer'}, in order", fontsize=8
        )
        if logarithmic and axis.lines:
            axis.set_yscale("log")
        axis.grid(alpha=0.3)
    if len(made) > 1:
        handles, labels = drawn.axes[0].get_legend_handles_labels()
        drawn.legend(handles, labels, loc="outside lower center", ncols=2)
    drawn.suptitle(f"{made[0].net}: {made[0].title}" if len(made) == 1 else made[0].net)
    return drawn


def along(one: Diagnosis, title: str) -> Sequence[Layer]:
    """The layers a panel follows: those with weights for updates, else the trunk."""
    if title == PANELS[3][0]:
        return [layer for layer in one.layers if layer.update_ratio is not None]
    return one.trunk.layers if one.trunk is not None else one.layers
