"""A distribution written into a tensor: from a torch generator by the very calls of `torch.nn.init`, or from streams."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, TypeAlias, assert_never

from .distributions import Bernoulli, Constant, Distribution, Normal, TruncatedNormal, Uniform

if TYPE_CHECKING:
    import torch

__all__ = ["Generator", "StreamGenerator", "fill", "filler", "fixed_order"]


class StreamGenerator(Protocol):
    """What built-in initializers draw from under a seed: each fill takes a stream of its own."""

    def fill(self, tensor: torch.Tensor, distribution: Distribution) -> torch.Tensor:
        """Fill a tensor from a stream that nothing has drawn from, and return it."""


Generator: TypeAlias = "torch.Generator | StreamGenerator | None"


def fill(tensor: torch.Tensor, distribution: Distribution, generator: Generator = None) -> torch.Tensor:
    """Fill a tensor in place and return it; None draws from torch's global generator of the tensor's device."""
    import torch

    if generator is not None and not isinstance(generator, torch.Generator):
        return generator.fill(tensor, distribution)
    if tensor.dtype.itemsize == 1 and not isinstance(distribution, Constant):  # torch draws no 8-bit floats
        wide = torch.empty(tensor.shape, dtype=torch.float32, device=tensor.device)
        return tensor.copy_(fill(wide, distribution, generator))
    return filler(distribution, generator)(tensor)


def filler(
    distribution: Distribution, generator: torch.Generator | None = None
) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return what fills a tensor in place from a distribution, and returns it; no tensor of 8-bit floats but by a constant."""
    match distribution:
        case Constant(value):
            return lambda tensor: tensor.fill_(value)
        case Normal(mean, std):
            return lambda tensor: tensor.normal_(mean, std, generator=generator)
        case Uniform(low, high):
            return lambda tensor: tensor.uniform_(low, high, generator=generator)
        case Bernoulli(p, low, high):
            if (low, high) == (0, 1):
                return lambda tensor: tensor.bernoulli_(p, generator=generator)
            return lambda tensor: tensor.bernoulli_(p, generator=generator).mul_(high - low).add_(low)
        case TruncatedNormal():
            return lambda tensor: _truncated(tensor, distribution, generator)
    assert_never(distribution)


def _truncated(tensor: torch.Tensor, distribution: TruncatedNormal, generator: torch.Generator | None) -> torch.Tensor:
    import torch

    loc, scale, low, high = distribution.loc, distribution.scale, distribution.low, distribution.high
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.nn.init.trunc_normal_(tensor, loc, scale, low, high, generator)


@contextmanager
def fixed_order() -> Iterator[None]:
    """Let sums, matrix products and decompositions in the block add in one order, whatever torch's number of threads."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
