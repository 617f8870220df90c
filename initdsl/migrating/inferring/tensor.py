"""A tensor for which a rule is wanted, and a right-hand side that fits it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .sampling import Sampled

__all__ = ["Fit", "Tensor"]


@dataclass(frozen=True)
class Tensor:
    """A sampled tensor and what formulas may speak of: `Tensor(sampled, (("Linear", "bias"),), (8, 4), 3, 12, "net.blocks")`.

    `names` are the class of each module that holds it and its name there, `sibling` is the shape of the `weight` beside
    it. In a list of layers it has a place `layer` (the rules' `i`), the list has so many `layers`, and a label. `siblings`
    are the plain numbers that scales of several places in the model come to.
    """

    sampled: Sampled
    names: tuple[tuple[str, str], ...] = ()
    sibling: tuple[int, ...] | None = None
    layer: int | None = None
    layers: int | None = None
    layer_list: str | None = None
    siblings: tuple[float, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        return self.sampled.shape

    def fans(self) -> tuple[float, float] | None:
        """Return fan_in and fan_out, of a vector those of the weight beside it; None where there are none."""
        shape = self.shape if len(self.shape) > 1 else self.sibling
        if shape is None or len(shape) < 2:
            return None
        field_size = math.prod(shape[2:])
        return shape[1] * field_size, shape[0] * field_size


@dataclass(frozen=True)
class Fit:
    """A right-hand side that fits a group of tensors: `Fit("~", "normal(0, 0.02)", kind="normal", error=0.001, count=512)`.

    `operator` may be `default`. `score` is how unlikely it is in nats, `error` the relative standard error of the scale,
    `count` the elements of the group, `sure` one of `sure`, `likely` and `guess`, and `rivals` fit nearly as well. `view`
    stands behind the selector; `after` are statements on top, without their selector: `[padding_idx] = 0`.
    """

    operator: str
    text: str
    score: float = 0.0
    kind: str = ""
    error: float = 0.0
    count: int = 0
    needs_layer: bool = False
    rivals: tuple[str, ...] = ()
    sure: str = "sure"
    after: tuple[str, ...] = ()
    view: str = ""
