"""Initializers that need the whole tensor at once: they fill it in place, through torch's own algebra."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from .arguments import ArgumentError, Count, Finite, NonNegative, Positive
from .distributions import Normal, Uniform
from .elementwise import Family, variance_scaling
from .fans import Mode
from .filling import fill, fixed_order
from .registry import builtin

if TYPE_CHECKING:
    import torch

    from .filling import Generator, StreamGenerator


def _divisible(shape: tuple[int, ...] | None, groups: int) -> None:
    if shape is not None and shape[0] % groups:
        raise ArgumentError(f"dimension 0 ({shape[0]}) is not divisible by groups ({groups})", "groups")


@builtin(min_ndim=2, max_ndim=2, complex=True)
def eye(tensor: torch.Tensor) -> None:
    """Ones on the diagonal, zeros elsewhere.

    2 dimensions. With noise it is a draw: `~ eye() + normal(0, 0.01)`. Source: `torch.nn.init.eye_`.
    """
    tensor.zero_()
    tensor.diagonal().fill_(1)


@builtin(min_ndim=3, max_ndim=5, check=_divisible, complex=True)
def dirac(tensor: torch.Tensor, groups: Count = 1) -> None:
    """The convolution that passes its input on: a one in the middle of the kernel, a channel to itself.

    3 to 5 dimensions, dimension 0 divisible by `groups`. Of a grouped convolution, each group passes its own inputs on:
    `Conv2d.weight = dirac(groups=groups)`. Source: `torch.nn.init.dirac_`.
    """
    from torch.nn import init

    init.dirac_(tensor, groups)


@builtin(min_ndim=2)
def orthogonal(tensor: torch.Tensor, gain: Finite = 1.0, *, generator: Generator = None) -> None:
    """A random (semi-)orthogonal matrix times `gain`; dimensions past the first are flattened.

    At least 2 dimensions. Half-precision tensors are computed in float32 and rounded. A view makes one matrix a gate or
    a head: `LSTM.weight_hh_l0 as (4, hidden_size, -1)[*] ~ orthogonal()`. Source: Saxe et al. 2013; `torch.nn.init.orthogonal_`.
    """
    import torch
    from torch.nn import init

    if generator is not None and not isinstance(generator, torch.Generator):
        _orthogonal_of_stream(tensor, gain, generator)
    elif tensor.dtype in (torch.float16, torch.bfloat16) or not tensor.is_contiguous():
        dtype = torch.float32 if tensor.dtype.itemsize == 2 else tensor.dtype
        work = torch.empty(tensor.shape, dtype=dtype, device=tensor.device)
        tensor.copy_(init.orthogonal_(work, gain, generator))
    else:
        init.orthogonal_(tensor, gain, generator)


def _orthogonal_of_stream(tensor: torch.Tensor, gain: float, generator: StreamGenerator) -> None:
    """Do what torch does in float64, and in one order: the number of threads would show in the last bits."""
    import torch

    rows = tensor.shape[0]
    drawn = torch.empty(rows, tensor.numel() // rows if rows else 0, dtype=tensor.dtype, device=tensor.device)
    matrix = fill(drawn, Normal(0.0, 1.0), generator).double()
    wide = matrix.shape[0] < matrix.shape[1]
    with fixed_order():
        q, r = torch.linalg.qr(matrix.t() if wide else matrix)
    q *= r.diagonal().sign()
    q *= gain
    tensor.copy_((q.t() if wide else q).reshape(tensor.shape))


@builtin(min_ndim=2, max_ndim=2, streams=2)
def sparse(
    tensor: torch.Tensor,
    sparsity: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)],
    std: NonNegative = 0.01,
    *,
    generator: Generator = None,
) -> None:
    """Normal(0, std), with the fraction `sparsity` of each column set to zero.

    2 dimensions. Source: Martens 2010; `torch.nn.init.sparse_`, which this is where there is no seed. Under one the
    rows are chosen from the seed too, by the order of uniform numbers.
    """
    import torch
    from torch.nn import init

    if generator is None:
        init.sparse_(tensor, sparsity, std)
        return
    fill(tensor, Normal(0.0, std), generator)
    order = fill(torch.empty_like(tensor), Uniform(0.0, 1.0), generator).argsort(dim=0, stable=True)
    tensor.scatter_(0, order[: math.ceil(sparsity * tensor.shape[0])], 0.0)


def _widening(shape: tuple[int, ...] | None, gain: float) -> None:
    if shape is not None and shape[1] > shape[0]:
        raise ArgumentError(
            f"an orthogonal map from {shape[1]} channels needs at least as many outputs, this has {shape[0]}",
            hint="`orthogonal()` has orthogonal rows where there are fewer outputs",
            name="bad-shape",
        )


@builtin(min_ndim=3, max_ndim=5, check=_widening)
def delta_orthogonal(tensor: torch.Tensor, gain: Finite = 1.0, *, generator: Generator = None) -> None:
    """The convolution that applies one random orthogonal map at every place: it in the middle of the kernel, else 0.

    3 to 5 dimensions, with at most as many inputs as outputs. The middle of an even kernel is the place before its half.
    Norms are kept where padding takes nothing away. Source: Xiao et al. 2018; `jax.nn.initializers.delta_orthogonal`.
    """
    import torch

    matrix = torch.empty(tensor.shape[:2], dtype=tensor.dtype, device=tensor.device)
    orthogonal(matrix, gain, generator=generator)
    tensor.zero_()
    middle = tensor
    for size in reversed(tensor.shape[2:]):
        middle = middle[..., (size - 1) // 2]
    middle.copy_(matrix)


def _sub_pixels(shape: tuple[int, ...] | None, upscale_factor: int, **_: object) -> None:
    if shape is None:
        return
    copies = upscale_factor ** (len(shape) - 2)
    if shape[0] % copies:
        raise ArgumentError(
            f"dimension 0 ({shape[0]}) is not divisible by {copies}, the sub-pixels of upscale_factor {upscale_factor}",
            "upscale_factor",
        )


@builtin(min_ndim=3, max_ndim=5, check=_sub_pixels)
def icnr(
    tensor: torch.Tensor,
    upscale_factor: Count = 2,
    scale: Positive = 2.0,
    mode: Mode = "fan_in",
    distribution: Family = "normal",
    *,
    generator: Generator = None,
) -> None:
    """A convolution before `PixelShuffle` that starts as one before nearest-neighbour upsampling: no checkerboard.

    The kernels of one upscaled pixel are equal, drawn by `variance_scaling(scale, mode, distribution)`. 3 to 5
    dimensions, dimension 0 divisible by `upscale_factor` to the power of the spatial ones. Any other draw is made so by
    `X.weight as (out_channels // 4, 4, -1) = it[:, 0:1]` after it. Source: Aitken et al. 2017.
    """
    import torch

    copies = upscale_factor ** (tensor.ndim - 2)
    kernels = torch.empty((tensor.shape[0] // copies, *tensor.shape[1:]), dtype=tensor.dtype, device=tensor.device)
    fill(kernels, variance_scaling(tuple(kernels.shape), scale, mode, distribution), generator)
    tensor.copy_(kernels.repeat_interleave(copies, dim=0))


def _paired(shape: tuple[int, ...] | None, **_: object) -> None:
    if shape is not None and shape[-1] < 2:
        raise ArgumentError(f"a table of sines and cosines needs 2 columns, this has {shape[-1]}", name="bad-shape")


@builtin(min_ndim=2, check=_paired)
def sinusoidal(
    tensor: torch.Tensor,
    base: Annotated[float, Field(gt=1, allow_inf_nan=False)] = 10000.0,
    layout: Literal["interleaved", "halves"] = "interleaved",
    endpoint: bool = False,
) -> None:
    """Sines and cosines of the position: wavelengths grow geometrically from 2π to `base` · 2π along the last dimension.

    At least 2 dimensions, positions along the last but one, the same for every index before it. `interleaved`: sine and
    cosine of a wavelength are neighbours, as in the paper; `halves`: first all sines, then all cosines. With `endpoint`
    the longest wavelength is `base` · 2π itself, as in tensor2tensor and Whisper; else it stops one step before, as
    in the paper. Source: Vaswani et al. 2017.
    """
    import torch

    positions, width = tensor.shape[-2:]
    sines = width // 2 if endpoint else (width + 1) // 2
    steps = max(1, width // 2 - 1) if endpoint else width / 2
    number = torch.arange(sines, dtype=torch.float64, device=tensor.device)
    angle = torch.arange(positions, dtype=torch.float64, device=tensor.device)[:, None] / base ** (number / steps)
    cosines = width // 2
    table = torch.zeros(positions, width, dtype=torch.float64, device=tensor.device)
    if layout == "interleaved":
        table[:, 0 : 2 * sines : 2] = angle.sin()
        table[:, 1 : 2 * cosines : 2] = angle[:, :cosines].cos()
    else:
        table[:, :sines] = angle.sin()
        table[:, sines : sines + cosines] = angle[:, :cosines].cos()
    tensor.copy_(table.expand(tensor.shape))
