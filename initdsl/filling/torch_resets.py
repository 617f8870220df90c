"""Defaults of torch's own layers: their `reset_parameters` run on the tensors as they are.

What such a reset sets is known, and nothing in it can fail. So it needs none of the care of `defaults.py`: no copies of what
stands beside, no marks, no backup. Large normals and uniforms are drawn for it by the kernel (`streams.draw_as_torch`).
"""

from __future__ import annotations

import torch
from torch import nn

from initdsl import streams
from initdsl.initializers import Distribution, Normal, Uniform
from initdsl.planning.torch_defaults import sets_alone

from .run import Run
from .safe import is_plain
from .seeded import resetting
from .stand_ins import bare
from .unset import has_nan, is_torchs_reset

__all__ = ["is_simple", "reset_simply"]


def is_simple(run: Run, index: int, tensors: tuple[int, ...]) -> bool:
    """Return whether a module is a layer of torch's whose reset is to set all that it sets, on memory that is there."""
    info, module = run.plan.network.modules[index], run.live.modules[index]
    names = {**info.parameters, **info.buffers}
    if set(names.values()) != set(tensors) or not sets_alone(info, names) or not is_torchs_reset(module, info.reset):
        return False
    return all(_is_there(run, run.live.tensors[number]) for number in tensors)


def _is_there(run: Run, tensor: torch.Tensor | None) -> bool:
    if tensor is None or tensor.is_meta or not is_plain(tensor):
        return False
    if run.seed is None:
        return True
    # as the stand-ins are that are reset under a seed
    drawn = tensor.dtype in (torch.float32, torch.float64) and tensor.is_contiguous()
    return tensor.is_cpu and (drawn or not has_nan(tensor))


def reset_simply(run: Run, index: int) -> None:
    """Run the reset of such a layer."""
    info, module = run.plan.network.modules[index], run.live.modules[index]
    with resetting(run.seed, info.name, of_torch=True):
        getattr(_drawn_by_the_kernel(module), info.reset or "")()


# ---- draws


class _Drawn(nn.Parameter):
    """The memory of a parameter, into which the kernel draws what torch would draw."""

    def uniform_(self, a: float = 0, b: float = 1, *, generator: torch.Generator | None = None) -> torch.Tensor:
        return self if self._is_filled(Uniform(a, b), generator) else super().uniform_(a, b, generator=generator)

    def normal_(self, mean: float = 0, std: float = 1, *, generator: torch.Generator | None = None) -> torch.Tensor:
        return (
            self if self._is_filled(Normal(mean, std), generator) else super().normal_(mean, std, generator=generator)
        )

    def _is_filled(self, distribution: Distribution, generator: torch.Generator | None) -> bool:
        return generator is None and streams.draw_as_torch([self.detach()], distribution)


def _drawn_by_the_kernel(module: nn.Module) -> nn.Module:
    """Return a module on the same memory, in which large parameters are drawn by the kernel; the module itself without any."""
    large = {name: p for name, p in module._parameters.items() if p is not None and p.numel() >= streams.LEAST_DRAWN}
    if not large:
        return module
    shell = bare(module)
    drawn = {name: _Drawn(parameter.detach(), requires_grad=False) for name, parameter in large.items()}
    shell._parameters = {**module._parameters, **drawn}
    return shell
