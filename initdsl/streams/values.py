"""Lanes made into the values of a recipe, by torch's operations: each rounds once, as stream v1 says."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .buffers import Buffers
from .keys import StreamKey
from .lanes import Positions, lanes
from .lines import DROP, SHIFT, device_segments, quantile_lines
from .quantile import normal_quantile
from .recipes import Affine, Choice, Quantile, Recipe

__all__ = ["write"]


def write(
    out: Tensor, positions: Positions, recipe: Recipe, key: StreamKey, buffers: Buffers, *, scaled_alone: bool
) -> None:
    """Write the values at `positions` into `out`, a contiguous one-dimensional tensor of float32 or float64.

    `scaled_alone` scales the segments that an element needs, in float64, in place of whole tables: the bits are the
    same, and it is cheaper for few elements.
    """
    if isinstance(recipe, Choice):
        _choice(out, lanes(positions, key, buffers), recipe)
        return
    if out.dtype == torch.float64:
        _double(out, positions, recipe, key, buffers)
        return
    out.copy_(lanes(positions, key, buffers))
    if isinstance(recipe, Affine):
        out.mul_(recipe.step)
        if recipe.middle or not recipe.step:  # a step of 0 leaves -0, which becomes 0
            out.add_(recipe.middle)
        out.clamp_(recipe.low, recipe.high)
    else:
        _along_lines(out, recipe, buffers, scaled_alone)
        _clamp(out, recipe)


def _along_lines(out: Tensor, recipe: Quantile, buffers: Buffers, scaled_alone: bool) -> None:
    """Replace lanes by the quantile at them: intercept + slope * position of the segment each falls in."""
    count = out.numel()
    out.add_(0.5)
    index = buffers.take("spare", (count + 1) >> 1, torch.int64).view(torch.int32)[:count]
    torch.bitwise_right_shift(out.view(torch.int32), DROP, out=index)
    index.add_(SHIFT)
    if scaled_alone:
        intercepts, slopes = device_segments(recipe.alpha, recipe.beta, buffers.device)
        out.mul_(slopes.index_select(0, index).mul_(recipe.scale).to(torch.float32))
        out.add_(intercepts.index_select(0, index).mul_(recipe.scale).add_(recipe.loc).to(torch.float32))
    else:
        lines = quantile_lines(recipe, buffers.device)
        picked = buffers.take("words", (count + 2) >> 1, torch.int64).view(torch.float32)[:count]
        out.mul_(torch.index_select(lines.slopes, 0, index, out=picked))
        out.add_(torch.index_select(lines.intercepts, 0, index, out=picked))


def _double(out: Tensor, positions: Positions, recipe: Affine | Quantile, key: StreamKey, buffers: Buffers) -> None:
    """Write float64 values: their positions have 64 bits, of two lanes."""
    coarse = lanes(positions, key, buffers).to(torch.int64)
    fine = lanes(positions, key, buffers, fine=True).to(torch.int64)
    out.copy_((coarse << 32) | (fine & 0xFFFFFFFF))
    if isinstance(recipe, Affine):
        out.mul_(recipe.step).add_(recipe.middle)
    else:
        out.add_(0.5).mul_(2.0**-64)
        z = normal_quantile(out, recipe.alpha, recipe.beta)
        torch.mul(z, recipe.scale, out=out).add_(recipe.loc)
    _clamp(out, recipe)


def _clamp(out: Tensor, recipe: Affine | Quantile) -> None:
    if not math.isinf(recipe.low) or not math.isinf(recipe.high):
        out.clamp_(recipe.low, recipe.high)


def _choice(out: Tensor, lane: Tensor, recipe: Choice) -> None:
    if recipe.last < -(2**31):  # below every lane, and no number of 32 bits
        out.fill_(recipe.low)
        return
    chosen = torch.le(lane, recipe.last)
    out.fill_(recipe.low)
    out.masked_fill_(chosen, recipe.high)
