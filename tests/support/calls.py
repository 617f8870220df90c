"""One call of every built-in initializer and a shape it takes: what tests of seeds, dtypes, layouts, files, shards and
devices run over. An initializer that is missing here fails `tests/initializers/test_initializers.py`."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn

from initdsl.initializers import Initializer, default_registry

MATRIX, KERNEL = (60, 50), (8, 4, 3, 3)


@dataclass(frozen=True)
class Call:
    """A call and a shape: `Call("orthogonal(gain=1.5)", (60, 50))`."""

    text: str
    shape: tuple[int, ...] = MATRIX

    def __str__(self) -> str:
        return self.name

    @property
    def name(self) -> str:
        return self.text.partition("(")[0]

    @property
    def initializer(self) -> Initializer:
        return default_registry()[self.name]

    @property
    def rule(self) -> str:
        """Return what stands behind a selector: `~ orthogonal(gain=1.5)`."""
        return f"{'~' if self.initializer.draws else '='} {self.text}"

    @property
    def large(self) -> tuple[int, ...]:
        """Return a shape of the same rank with some 400 000 elements, enough for several threads."""
        scale = math.ceil((400_000 / math.prod(self.shape)) ** 0.5)
        return (self.shape[0] * scale, self.shape[1] * scale, *self.shape[2:])

    def takes(self, rank: int) -> bool:
        """Whether a tensor of so many dimensions can be filled."""
        lowest, highest = self.initializer.min_ndim, self.initializer.max_ndim
        return lowest <= rank and (highest is None or rank <= highest)


CALLS = [
    Call("uniform(-2, 3)"),
    Call("normal(1, 0.5)"),
    Call("trunc_normal(0, 1, -1, 2)"),
    Call("trunc_normal_sd(0, 0.02)"),
    Call("bernoulli(0.3)"),
    Call("rademacher(0.25)"),
    Call("constant(0.3)"),
    Call("zeros()"),
    Call("ones()"),
    Call("xavier_uniform(gain=2)"),
    Call("xavier_normal()"),
    Call("kaiming_uniform()"),
    Call("kaiming_normal(mode=fan_out, nonlinearity=relu)"),
    Call("variance_scaling(2, fan_avg)"),
    Call("lecun_normal()"),
    Call("lecun_uniform()"),
    Call("eye()"),
    Call("orthogonal(gain=1.5)"),
    Call("sparse(0.3)"),
    Call("sinusoidal()"),
    Call("dirac()", KERNEL),
    Call("delta_orthogonal(1.5)", KERNEL),
    Call("icnr()", KERNEL),
]
DRAWS = [call for call in CALLS if call.initializer.draws]
ELEMENTWISE = [call for call in DRAWS if call.initializer.elementwise]


class Called(nn.Module):
    """A model with one parameter for every call, named as the initializer."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        for call in CALLS:
            self.register_parameter(call.name, nn.Parameter(torch.zeros(call.shape, dtype=dtype)))

    @staticmethod
    def rules() -> str:
        return "\n".join(f"Called.{call.name} {call.rule}" for call in CALLS)
