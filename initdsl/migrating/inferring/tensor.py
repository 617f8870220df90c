"""A tensor of which a rule is to be found, and a rule that fits it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .sampling import Sampled

__all__ = ["Fit", "Tensor"]


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
