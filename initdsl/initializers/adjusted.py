"""Initializers that look at data: a draw, and how the layer is then adjusted to what it puts out on a sample.

`adjust(module, name, value, output, **arguments)` is called when a forward pass reaches the layer: it gives the tensor's
next value, or None where the output is as asked for. It raises ArgumentError where no value would do.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .arguments import ArgumentError, Finite, Positive, Steps
from .distributions import Normal
from .filling import fill
from .registry import builtin
from .whole import orthogonal

if TYPE_CHECKING:
    import torch
    from torch import nn

    from .filling import Generator


# the direction of the weights is all that is left of the draw, as in Salimans & Kingma
SPREAD = 0.05

# how far off, relatively, the mean and deviation of a unit may be left
CLOSE = 1e-3


def _of_variance(
    module: nn.Module, name: str, value: torch.Tensor, output: torch.Tensor, std: float, tol: float, max_iter: int
) -> torch.Tensor | None:
    variance = float(output.double().var(unbiased=False)) if output.numel() else 0.0
    if not math.isfinite(variance) or variance <= 0:
        raise ArgumentError(
            f"its output on the sample has the variance {variance:g}, which no factor makes {std * std:g}"
        )
    if abs(variance / (std * std) - 1) <= tol:
        return None
    return value * (std / math.sqrt(variance))


@builtin(min_ndim=2, adjust=_of_variance)
def lsuv(
    tensor: torch.Tensor,
    std: Positive = 1.0,
    tol: Positive = 0.01,
    max_iter: Steps = 10,
    *,
    generator: Generator = None,
) -> None:
    """Layer-sequential unit variance: orthogonal, then scaled until the layer's output on the sample has variance `std`².

    Layers are scaled in the order in which the forward pass reaches them, each on the output of those before it. The
    variance is taken over all elements of the output (of the layer itself, before what follows it) and brought within
    `tol`, relatively, in at most `max_iter` steps (1000 at the most); more is an error: a large bias, which no factor takes
    away. Needs `sample=`. At least 2 dimensions. Source: Mishkin & Matas 2015.
    """
    orthogonal(tensor, 1.0, generator=generator)


def _of_units(
    module: nn.Module, name: str, value: torch.Tensor, output: torch.Tensor, mean: float, std: float
) -> torch.Tensor | None:
    out, groups, unit = _layout(module, output)
    others = [d for d in range(output.ndim) if d != out]
    outputs = output.double()
    if value.ndim == 1:
        means = outputs.mean(dim=others)
        if bool(((means - mean).abs() <= CLOSE * std).all()):
            return None
        return value - (means - mean).to(value.dtype)
    deviations = outputs.std(dim=others, unbiased=False)
    if not bool(deviations.isfinite().all()) or not bool((deviations > 0).all()):
        dead = int((~(deviations > 0)).sum())
        raise ArgumentError(f"the output of {dead} of its {deviations.numel()} units is constant on the sample")
    if bool(((deviations / std - 1).abs() <= CLOSE).all()):
        return None
    factors = (std / deviations).to(value.dtype)
    if unit == 0:
        return value * factors.view(-1, *[1] * (value.ndim - 1))
    # inputs come first: those of one group after another, each with its group's outputs
    grouped = value.view(groups, value.shape[0] // groups, *value.shape[1:])
    return (grouped * factors.view(groups, 1, value.shape[1], *[1] * (value.ndim - 2))).view(value.shape)


def _layout(module: nn.Module, output: torch.Tensor) -> tuple[int, int, int]:
    """Return the dimension of a layer's output that is its units, its number of groups, and the weight's dimension of units."""
    from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

    if isinstance(module, _ConvNd):
        channels = output.ndim - 1 - len(module.kernel_size)
        transposed = isinstance(module, _ConvTransposeNd)
        return channels, module.groups if transposed else 1, 1 if transposed else 0
    names = {cls.__name__ for cls in type(module).__mro__}
    if "Conv1D" in names:
        return output.ndim - 1, 1, 1
    if "Linear" in names:
        return output.ndim - 1, 1, 0
    raise ArgumentError(
        f"it is {type(module).__name__}, and which of its weights belong to which unit of its output is not known",
        hint="`Linear`, convolutions, and `Conv1D` are; `lsuv` takes any layer that puts out a tensor",
    )


@builtin(min_ndim=1, adjust=_of_units)
def activation_norm(
    tensor: torch.Tensor, mean: Finite = 0.0, std: Positive = 1.0, *, generator: Generator = None
) -> None:
    """Normalized activations: on the sample, every unit of the layer's output has standard deviation `std` and mean `mean`.

    The weights are drawn from normal(0, 0.05) and scaled unit by unit; the bias is shifted to the mean: for both write
    `Linear.* ~ activation_norm()`, a weight alone leaves the means as they are. Under weight norm, the weight's `g` takes
    the scale. Layers follow one another as for `lsuv`. For `Linear`, convolutions, and transformers' `Conv1D`. Needs
    `sample=`. Source: Salimans & Kingma 2016, section 3.
    """
    if tensor.ndim == 1:
        tensor.zero_()
    else:
        fill(tensor, Normal(0.0, SPREAD), generator)
