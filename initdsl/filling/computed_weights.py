"""Weights that are computed from others: weight_norm and spectral_norm, old and new."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

__all__ = ["follow", "write_computed"]


# ---- parametrized and hooked weights


def write_computed(module: nn.Module, local: str, value: torch.Tensor) -> None:
    """Give a computed weight its value, through `right_inverse` or the old hooks; buffers that depend on it follow."""
    chain = getattr(module, "parametrizations", {})
    if local in chain:
        memory = [(original, original.detach()) for original in chain[local].parameters(recurse=False)]
        setattr(module, local, value)
        for original, place in memory:  # torch gives the original other memory: values go into the one it had
            if original.shape == place.shape and original.data_ptr() != place.data_ptr():
                place.copy_(original)
                original.set_(place)
        _follow(chain[local])
        return
    for hook in module._forward_pre_hooks.values():
        if getattr(hook, "name", None) != local:
            continue
        kind = type(hook).__name__
        if kind == "WeightNorm":
            module._parameters[f"{local}_v"].copy_(value)  # type: ignore[union-attr]
            norm = torch.norm_except_dim(value, 2, hook.dim)  # type: ignore[attr-defined]
            module._parameters[f"{local}_g"].copy_(norm)  # type: ignore[union-attr]
            setattr(module, local, hook.compute_weight(module))  # type: ignore[attr-defined]
        elif kind == "SpectralNorm":
            module._parameters[f"{local}_orig"].copy_(value)  # type: ignore[union-attr]
            matrix = hook.reshape_weight_to_matrix(value)  # type: ignore[attr-defined]
            u, v = module._buffers[f"{local}_u"], module._buffers[f"{local}_v"]
            assert u is not None
            assert v is not None
            for _ in range(POWER_ITERATIONS):
                v.copy_(nn.functional.normalize(torch.mv(matrix.t(), u), dim=0, eps=hook.eps))  # type: ignore[attr-defined]
                u.copy_(nn.functional.normalize(torch.mv(matrix, v), dim=0, eps=hook.eps))  # type: ignore[attr-defined]
            setattr(module, local, hook.compute_weight(module, do_power_iteration=False))  # type: ignore[attr-defined]


POWER_ITERATIONS = 50


def follow(module: nn.Module) -> None:
    """Bring the buffers that depend on a module's computed weights up to them."""
    if type(module).__name__ == "ParametrizationList":
        _follow(module)
    for hook in module._forward_pre_hooks.values():
        if type(hook).__name__ == "WeightNorm" and f"{getattr(hook, 'name', '')}_g" in module._parameters:
            setattr(module, hook.name, hook.compute_weight(module))  # type: ignore[attr-defined]
        elif type(hook).__name__ == "SpectralNorm" and f"{getattr(hook, 'name', '')}_orig" in module._parameters:
            original = module._parameters[f"{hook.name}_orig"]  # type: ignore[attr-defined]
            assert original is not None
            write_computed(module, hook.name, original.detach().clone())  # type: ignore[attr-defined]


def _follow(chain: Any) -> None:
    """Spectral norm's vectors belong to the weight: iterate them to the new one, from where they are."""
    if hasattr(chain, "original"):
        weight = chain.original
        for part in chain:
            if type(part).__name__ == "_SpectralNorm" and hasattr(part, "_power_method") and hasattr(part, "_u"):
                part._power_method(part._reshape_weight_to_matrix(weight), POWER_ITERATIONS)
            mode = part.training
            part.eval()
            try:
                weight = part(weight)
            finally:
                part.train(mode)
