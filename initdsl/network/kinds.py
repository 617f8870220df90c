"""Facts of one class, dtype or hook: whether tensors are sharded or quantized, what resets a module, what loads it, what
hooks compute.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

__all__ = [
    "any_sharded",
    "dtype_name",
    "hook_computed",
    "is_parametrization",
    "is_pruning",
    "is_sharded",
    "is_torch_class",
    "layout_name",
    "load_code",
    "reset_method",
    "tensor_class",
]


def reset_method(cls: type) -> str | None:
    """Return the name of the method by which modules of a class initialize their parameters."""
    for name in ("reset_parameters", "_reset_parameters"):
        if callable(getattr(cls, name, None)):
            return name
    return None


@lru_cache(maxsize=256)
def dtype_name(dtype: torch.dtype) -> tuple[str, str | None]:
    """Return a dtype's name, and why a tensor of it can't be filled, None if it can."""
    name = str(dtype).removeprefix("torch.")
    return name, "quantized" if "qint" in name else None


@lru_cache(maxsize=16)
def layout_name(layout: torch.layout) -> str:
    """Return a layout's name: "strided", "sparse_coo"."""
    return str(layout).removeprefix("torch.")


@lru_cache(maxsize=256)
def tensor_class(cls: type) -> tuple[bool, bool]:
    """Return whether tensors of a class have no shape yet (lazy modules'), and whether they are DTensors."""
    return "Uninitialized" in cls.__name__, hasattr(cls, "placements") and hasattr(cls, "device_mesh")


def is_sharded(tensor: Any) -> bool:
    """Tell whether a tensor is a DTensor: one rank's view of a tensor spread over a device mesh."""
    cls: Any = type(tensor)
    return tensor_class(cls)[1]


def any_sharded(tensors: Iterable[Any]) -> bool:
    """Tell whether a DTensor is among tensors."""
    return any(tensor_class(cls)[1] for cls in set(map(type, tensors)))


@lru_cache(maxsize=4096)
def is_torch_class(cls: type, module: str, name: str) -> bool:
    """Tell whether a class is, or derives from, one of torch's, by the name of its module and its own."""
    known = getattr(sys.modules.get(module), name, None)
    return known is not None and issubclass(cls, known)


def is_parametrization(module: object) -> bool:
    """Tell whether a module is a list of parametrizations, from which torch computes one tensor."""
    cls: Any = type(module)
    return is_torch_class(cls, "torch.nn.utils.parametrize", "ParametrizationList")


def hook_computed(state: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the name of each tensor that a hook of the old `weight_norm` or `spectral_norm`, or of `prune`, computes, and the hook.

    `state` is the `__dict__` of a module.
    """
    for hook in state.get("_forward_pre_hooks", {}).values():
        name = None
        if type(hook).__module__ in ("torch.nn.utils.weight_norm", "torch.nn.utils.spectral_norm"):
            name = getattr(hook, "name", None)
        elif is_pruning(hook):
            name = getattr(hook, "_tensor_name", None)
        if name is not None and name not in state["_parameters"]:
            yield name, hook


def is_pruning(hook: object) -> bool:
    """Tell whether a hook is one of `torch.nn.utils.prune`, which multiplies a tensor by a mask."""
    cls: Any = type(hook)
    return is_torch_class(cls, "torch.nn.utils.prune", "BasePruningMethod")


def load_code(module: Any) -> str | None:
    """Return what a module does itself in `load_state_dict`, torch's own code left aside: `Old._load_from_state_dict`."""
    cls = type(module)
    for name in ("load_state_dict", "_load_from_state_dict"):
        if not _is_torchs(getattr(cls, name)):
            return f"{cls.__name__}.{name}"
    for hook in (*module._load_state_dict_pre_hooks.values(), *module._load_state_dict_post_hooks.values()):
        function = getattr(hook, "hook", hook)  # torch wraps those that take the module
        if not _is_torchs(function):
            name = getattr(function, "__name__", type(function).__name__)
            return f"the hook {name} of {cls.__name__}"
    return None


def _is_torchs(function: object) -> bool:
    return str(getattr(function, "__module__", "")).split(".")[0] == "torch"
