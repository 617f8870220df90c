"""Initializers that need the whole tensor at once: they fill it in place, through torch's own algebra."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, TypeAlias

from pydantic import Field

from .distributions import Normal
from .registry import ArgumentError, Count, Finite, NonNegative, builtin

if TYPE_CHECKING:
    import torch

    from initdsl.seeded import Draws

    Generator: TypeAlias = torch.Generator | Draws | None


def _divisible(shape: tuple[int, ...] | None, groups: int) -> None:
    if shape is not None and shape[0] % groups:
        raise ArgumentError(f"dimension 0 ({shape[0]}) is not divisible by groups ({groups})", "groups")


@builtin(min_ndim=2, max_ndim=2)
def eye(tensor: torch.Tensor) -> None:
    """Ones on the diagonal, zeros elsewhere.

    2 dimensions. Source: `torch.nn.init.eye_`.
    """
    from torch.nn import init

    init.eye_(tensor)


@builtin(min_ndim=3, max_ndim=5, check=_divisible)
def dirac(tensor: torch.Tensor, groups: Count = 1) -> None:
    """The convolution that passes its input on: a one in the middle of the kernel, a channel to itself.

    3 to 5 dimensions, dimension 0 divisible by `groups`. Source: `torch.nn.init.dirac_`.
    """
    from torch.nn import init

    init.dirac_(tensor, groups)


@builtin(min_ndim=2)
def orthogonal(tensor: torch.Tensor, gain: Finite = 1.0, *, generator: Generator = None) -> None:
    """A random (semi-)orthogonal matrix times `gain`; dimensions past the first are flattened.

    At least 2 dimensions. Half-precision tensors are computed in float32 and rounded.
    Source: Saxe et al. 2013; `torch.nn.init.orthogonal_`.
    """
    import torch
    from torch.nn import init

    if generator is not None and not isinstance(generator, torch.Generator):
        _orthogonal_from(generator, tensor, gain)
    elif tensor.dtype in (torch.float16, torch.bfloat16):
        work = torch.empty(tensor.shape, dtype=torch.float32, device=tensor.device)
        tensor.copy_(init.orthogonal_(work, gain, generator))
    elif tensor.is_contiguous():
        init.orthogonal_(tensor, gain, generator)
    else:
        work = torch.empty(tensor.shape, dtype=tensor.dtype, device=tensor.device)
        tensor.copy_(init.orthogonal_(work, gain, generator))


def _orthogonal_from(draws: Draws, tensor: torch.Tensor, gain: float) -> None:
    """torch's algebra on normal numbers from a stream, in float64 and one thread: with more the last bits vary."""
    import torch

    rows = tensor.shape[0]
    drawn = torch.empty(rows, tensor.numel() // rows if rows else 0, dtype=tensor.dtype, device=tensor.device)
    matrix = draws.fill(drawn, Normal(0.0, 1.0)).double()
    wide = matrix.shape[0] < matrix.shape[1]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        q, r = torch.linalg.qr(matrix.t() if wide else matrix)
    finally:
        torch.set_num_threads(threads)
    q *= r.diagonal().sign()
    q *= gain
    tensor.copy_((q.t() if wide else q).reshape(tensor.shape))


@builtin(min_ndim=2, max_ndim=2)
def sparse(
    tensor: torch.Tensor,
    sparsity: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)],
    std: NonNegative = 0.01,
    *,
    generator: Generator = None,
) -> None:
    """Normal(0, std), with the fraction `sparsity` of each column set to zero.

    2 dimensions. Source: Martens 2010; `torch.nn.init.sparse_`, whose choice of rows this follows, and which draws it
    from the global generator even when given another one: this one does not.
    """
    import math

    import torch
    from torch.nn import init

    if generator is None:
        init.sparse_(tensor, sparsity, std)
        return
    rows, columns = tensor.shape
    zeroed = math.ceil(sparsity * rows)
    if not isinstance(generator, torch.Generator):
        generator.fill(tensor, Normal(0.0, std))
        order = generator.uniform(torch.empty_like(tensor)).argsort(dim=0, stable=True)
        tensor.scatter_(0, order[:zeroed], 0.0)
        return
    tensor.normal_(0, std, generator=generator)
    for column in range(columns):
        tensor[torch.randperm(rows, generator=generator, device=generator.device)[:zeroed], column] = 0
