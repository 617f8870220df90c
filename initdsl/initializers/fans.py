"""Fans and gains, exactly as `torch.nn.init` computes them, from shapes alone."""

from __future__ import annotations

import math
from typing import Literal

from .arguments import ArgumentError

__all__ = ["Mode", "Nonlinearity", "fan_of", "fans", "gain"]


Mode = Literal["fan_in", "fan_out", "fan_avg", "fan_geo_avg"]


Nonlinearity = Literal[
    "linear",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "sigmoid",
    "tanh",
    "relu",
    "leaky_relu",
    "selu",
]


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return `(fan_in, fan_out)` of a weight of this shape, dimension 0 being the outputs.

    Dimensions past the second are the receptive field. Raises ArgumentError below two dimensions.
    Source: `torch.nn.init._calculate_fan_in_and_fan_out`.
    """
    if len(shape) < 2:
        raise ArgumentError(
            f"fans are not defined for shape {list(shape)}: they need at least 2 dimensions", name="undefined-fan"
        )
    field = math.prod(shape[2:])
    return shape[1] * field, shape[0] * field


def fan_of(shape: tuple[int, ...], mode: Mode, fan_in: float | None = None, fan_out: float | None = None) -> float:
    """Return the fan that `mode` asks for: of the shape, or the one given in its place.

    `fan_avg` is the arithmetic, `fan_geo_avg` the geometric mean of both. Raises ArgumentError where a fan that is
    needed is neither given nor defined.
    """
    if fan_in is None and mode != "fan_out":
        fan_in = fans(shape)[0]
    if fan_out is None and mode != "fan_in":
        fan_out = fans(shape)[1]
    if mode == "fan_in":
        assert fan_in is not None
        return fan_in
    assert fan_out is not None
    if mode == "fan_out":
        return fan_out
    assert fan_in is not None
    return (fan_in + fan_out) / 2 if mode == "fan_avg" else math.sqrt(fan_in * fan_out)


def gain(nonlinearity: Nonlinearity, param: float = 0.01) -> float:
    """Return the recommended gain of a nonlinearity; `param` is the negative slope of `leaky_relu`.

    Source: `torch.nn.init.calculate_gain`.
    """
    match nonlinearity:
        case "tanh":
            return 5.0 / 3
        case "relu":
            return math.sqrt(2.0)
        case "leaky_relu":
            return math.sqrt(2.0 / (1 + param**2))
        case "selu":
            return 3.0 / 4
        case _:
            return 1.0
