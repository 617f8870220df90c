"""Weights that a module computes from other parameters: torch's parametrizations, and the hooks of the old norms.

`torch.nn.utils.parametrizations.weight_norm` and `spectral_norm` keep a `ParametrizationList` for each weight;
`torch.nn.utils.weight_norm` and `spectral_norm`, which came before, a hook that computes the weight when it is called; so
does `torch.nn.utils.prune`, which multiplies what is written by its mask.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from initdsl import streams
from initdsl.initializers import Normal
from initdsl.network.description import Live
from initdsl.network.kinds import hook_computed, is_parametrization, is_pruning, is_torch_class

__all__ = [
    "computed_from",
    "computed_weight",
    "follow",
    "gives_back",
    "has_computed",
    "hooked_names",
    "inverting",
    "is_vector",
    "parametrizations",
    "seeded_vector",
    "uncached",
    "write_computed",
]


# steps after which spectral norm's vectors are those of the weight's largest singular value
POWER_ITERATIONS = 50


def _hooks(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """Yield the hooks of the old norms and of pruning, each with the name of the attribute that it computes."""
    return hook_computed(module.__dict__)


def hooked_names(module: nn.Module) -> set[str]:
    """Return the attributes that hooks compute before each forward pass."""
    names = (getattr(hook, "name", None) for hook in module._forward_pre_hooks.values())
    return {name for name in names if isinstance(name, str)} | {name for name, _ in _hooks(module)}


def parametrizations(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the ParametrizationList of every parametrized weight in a module and in those below it."""
    return (each for each in module.modules() if is_parametrization(each))


def _is_spectral_norm(module: nn.Module) -> bool:
    """Return whether a module is torch's parametrization by the spectral norm."""
    cls: Any = type(module)
    return is_torch_class(cls, "torch.nn.utils.parametrizations", "_SpectralNorm")


def is_vector(module: nn.Module, local: str) -> bool:
    """Return whether a buffer is one of spectral norm's vectors."""
    if _is_spectral_norm(module):
        return True
    hooked = any(type(hook).__name__ == "SpectralNorm" for _, hook in _hooks(module))
    return hooked and local.endswith(("_u", "_v"))


def inverting(module: nn.Module, local: str) -> Iterator[nn.Module]:
    """Yield the parametrizations of a weight that are set where it is written, buffers included: `orthogonal`'s base."""
    chains = getattr(module, "parametrizations", {})
    if local in chains:
        yield from (part for part in chains[local] if hasattr(part, "right_inverse"))


def computed_from(module: nn.Module, local: str) -> Iterator[nn.Parameter]:
    """Return the parameters that a computed weight is computed from."""
    chains = getattr(module, "parametrizations", {})
    return chains[local].parameters() if local in chains else module.parameters(recurse=False)


def computed_weight(module: nn.Module, local: str) -> torch.Tensor:
    """Return a computed weight from what is there now, without moving its buffers."""
    chains = getattr(module, "parametrizations", {})
    if local not in chains:
        for name, hook in _hooks(module):
            if name == local and is_pruning(hook):
                return torch.as_tensor(hook.apply_mask(module)).detach()
            if name == local:
                further = {} if type(hook).__name__ == "WeightNorm" else {"do_power_iteration": False}
                return torch.as_tensor(hook.compute_weight(module, **further)).detach()
        return torch.as_tensor(getattr(module, local)).detach()
    training = {part: part.training for part in chains[local].modules()}
    try:
        chains[local].eval()
        with torch.no_grad():
            return torch.as_tensor(chains[local]()).detach()
    finally:
        for part, mode in training.items():
            part.training = mode


@contextmanager
def uncached(live: Live) -> Iterator[None]:
    """Forget what `parametrize.cached()` holds of a model's computed weights, before what is done in the block and after."""
    _forget(live)
    try:
        yield
    finally:
        _forget(live)


def _forget(live: Live) -> None:
    held: dict[Any, Any] = torch.nn.utils.parametrize._cache
    if held:
        modules = {id(module) for module in live.modules}
        for key in [key for key in held if key[0] in modules]:
            del held[key]


# how far a computed weight may be from the values that were written to it, in parts of the largest of them
CLOSE, CLOSE_IN_HALF = 1e-2, 5e-2


def gives_back(module: nn.Module, local: str, value: torch.Tensor, *, exactly: bool) -> bool:
    """Return whether a computed weight is finite where the value written to it is, and, if `exactly`, is that value.

    What is pruned stays so.
    """
    exactly = exactly and not any(name == local and is_pruning(hook) for name, hook in _hooks(module))
    computed = computed_weight(module, local).to(value.dtype)
    finite = torch.isfinite(value)
    if not bool(torch.isfinite(computed[finite]).all()):
        return False
    if not exactly or not bool(finite.any()):
        return True
    close = CLOSE if value.dtype.itemsize > 2 else CLOSE_IN_HALF
    return float((computed - value)[finite].abs().max()) <= close * float(value[finite].abs().max())


# ---- writing


# gives a buffer of a module, by its local name, the values that the vectors of spectral norm start from
Start = Callable[[nn.Module, str], None]


def seeded_vector(like: torch.Tensor, key: streams.StreamKey, device: torch.device) -> torch.Tensor:
    """Return what a vector of spectral norm starts from under a seed."""
    vector = torch.empty(like.shape, dtype=like.dtype, device=device)
    streams.fill(vector, Normal(0.0, 1.0), key)
    return nn.functional.normalize(vector, dim=0)


def write_computed(module: nn.Module, local: str, value: torch.Tensor, start: Start | None = None) -> None:
    """Give a computed weight its value, through `right_inverse` or the old hooks; buffers that depend on it follow.

    Those are iterated from what `start` gives them, else from what they are.
    """
    chains = getattr(module, "parametrizations", {})
    if local in chains:
        _write_parametrized(module, local, chains[local], value, start)
        return
    for name, hook in _hooks(module):
        if name == local and is_pruning(hook):
            module._parameters[f"{name}_orig"].copy_(value)  # type: ignore[union-attr]
            setattr(module, name, hook.apply_mask(module))
        elif name == local and type(hook).__name__ == "WeightNorm":
            _write_weight_norm(module, hook, value)
        elif name == local:
            _write_spectral_norm(module, hook, value, start)


def _write_parametrized(
    module: nn.Module, local: str, chain: nn.Module, value: torch.Tensor, start: Start | None
) -> None:
    memory = [(original, original.detach()) for original in chain.parameters(recurse=False)]
    buffers = [(part, name, b) for part in chain.modules() for name, b in part._buffers.items() if b is not None]
    setattr(module, local, value)
    for part, name, buffer in buffers:  # what `right_inverse` puts in a buffer's place (`orthogonal`'s base) likewise
        now = part._buffers[name]
        if now is not buffer and now is not None and now.shape == buffer.shape and not buffer.is_meta:
            part._buffers[name] = buffer.copy_(now)
    for original, place in memory:  # torch gives the original other memory: values go into the one it had
        if original.shape == place.shape and original.data_ptr() != place.data_ptr():
            place.copy_(original)
            original.set_(place)  # type: ignore[call-overload]
    _follow_chain(chain, start)


def _write_weight_norm(module: nn.Module, hook: Any, value: torch.Tensor) -> None:
    module._parameters[f"{hook.name}_v"].copy_(value)  # type: ignore[union-attr]
    norm = torch.norm_except_dim(value, 2, hook.dim)
    module._parameters[f"{hook.name}_g"].copy_(norm)  # type: ignore[union-attr]
    setattr(module, hook.name, hook.compute_weight(module))


def _write_spectral_norm(module: nn.Module, hook: Any, value: torch.Tensor, start: Start | None) -> None:
    module._parameters[f"{hook.name}_orig"].copy_(value)  # type: ignore[union-attr]
    matrix = hook.reshape_weight_to_matrix(value)
    u, v = module._buffers[f"{hook.name}_u"], module._buffers[f"{hook.name}_v"]
    assert u is not None
    assert v is not None
    if start is not None:
        start(module, f"{hook.name}_u")
        start(module, f"{hook.name}_v")
    for _ in range(POWER_ITERATIONS):
        v.copy_(nn.functional.normalize(torch.mv(matrix.t(), u), dim=0, eps=hook.eps))
        u.copy_(nn.functional.normalize(torch.mv(matrix, v), dim=0, eps=hook.eps))
    setattr(module, hook.name, hook.compute_weight(module, do_power_iteration=False))


# ---- following


def has_computed(module: nn.Module) -> bool:
    """Return whether `follow` has something to do in a module."""
    return is_parametrization(module) or any(True for _ in _hooks(module))


def follow(module: nn.Module, start: Start | None = None) -> None:
    """Bring the buffers that depend on a module's computed weights up to them, see `write_computed`."""
    if is_parametrization(module):
        _follow_chain(module, start)
    for name, hook in _hooks(module):
        if is_pruning(hook) and f"{name}_orig" in module._parameters:
            setattr(module, name, hook.apply_mask(module))
        elif type(hook).__name__ == "WeightNorm" and f"{hook.name}_g" in module._parameters:
            setattr(module, hook.name, hook.compute_weight(module))
        elif type(hook).__name__ == "SpectralNorm" and f"{hook.name}_orig" in module._parameters:
            original = module._parameters[f"{hook.name}_orig"]
            assert original is not None
            _write_spectral_norm(module, hook, original.detach().clone(), start)


def _follow_chain(chain: Any, start: Start | None) -> None:
    """Iterate spectral norm's vectors to the weight that a chain starts from."""
    if not hasattr(chain, "original"):
        return
    weight = chain.original
    for part in chain:
        if _is_spectral_norm(part) and hasattr(part, "_u"):
            if start is not None:
                start(part, "_u")
                start(part, "_v")
            part._power_method(part._reshape_weight_to_matrix(weight), POWER_ITERATIONS)
        mode = part.training
        part.eval()
        try:
            weight = part(weight)
        finally:
            part.train(mode)
