"""A distribution written into a tensor: from a torch generator by the very calls of `torch.nn.init`, or from streams."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Protocol, TypeAlias

from .distributions import Bernoulli, Constant, Distribution, Normal, TruncatedNormal, Uniform

if TYPE_CHECKING:
    import torch

__all__ = ["Generator", "StreamGenerator", "fill"]


class StreamGenerator(Protocol):
    """What an initializer draws from under a seed, in place of a `torch.Generator`."""

    def fill(self, tensor: torch.Tensor, what: Distribution) -> torch.Tensor:
        """Fill a tensor from a stream that nothing has drawn from, and return it."""

    def uniform(self, tensor: torch.Tensor) -> torch.Tensor:
        """Fill a tensor with uniform numbers from 0 to 1, and return it."""


Generator: TypeAlias = "torch.Generator | StreamGenerator | None"


def fill(tensor: torch.Tensor, what: Distribution, generator: Generator = None) -> None:
    """Fill a tensor in place. `generator` is torch's global one by default, a torch generator, or a piece's streams."""
    import torch

    if generator is not None and not isinstance(generator, torch.Generator):
        generator.fill(tensor, what)
        return
    if tensor.dtype.itemsize == 1 and not isinstance(what, Constant):  # torch draws no 8-bit floats
        wide = torch.empty(tensor.shape, dtype=torch.float32, device=tensor.device)
        fill(wide, what, generator)
        tensor.copy_(wide)
        return
    match what:
        case Constant():
            tensor.fill_(what.value)
        case Normal():
            tensor.normal_(what.mean, what.std, generator=generator)
        case Uniform():
            tensor.uniform_(what.low, what.high, generator=generator)
        case Bernoulli():
            tensor.bernoulli_(what.p, generator=generator)
            if (what.low, what.high) != (0, 1):
                tensor.mul_(what.high - what.low).add_(what.low)
        case TruncatedNormal():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                torch.nn.init.trunc_normal_(tensor, what.loc, what.scale, what.low, what.high, generator)
