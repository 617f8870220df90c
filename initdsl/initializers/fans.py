"""Fans and gains, exactly as `torch.nn.init` computes them, from shapes alone."""

from __future__ import annotations

import math
from typing import Literal

from .registry import ArgumentError

__all__ = ["Nonlinearity", "fans", "gain"]

Nonlinearity = Literal[
    "linear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d",
    "sigmoid", "tanh", "relu", "leaky_relu", "selu",
]  # fmt: skip


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """`(fan_in, fan_out)` of a weight of this shape, dimension 0 being the outputs.

    Dimensions past the second are the receptive field. Raises ArgumentError below two dimensions.
    Source: `torch.nn.init._calculate_fan_in_and_fan_out`.
    """
    if len(shape) < 2:
        raise ArgumentError(
            f"fans are not defined for shape {list(shape)}: they need at least 2 dimensions", name="undefined-fan"
        )
    field = math.prod(shape[2:])
    return shape[1] * field, shape[0] * field


def gain(nonlinearity: Nonlinearity, param: float = 0.01) -> float:
    """The recommended gain of a nonlinearity; `param` is the negative slope of `leaky_relu`.

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
