"""What kind of tensor or module something is: sharded, quantized, hooked."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

__all__ = ["dtype_name", "hook_computed", "is_sharded", "layout_name", "reset_method", "tensor_class"]


def reset_method(cls: type) -> str | None:
    for name in ("reset_parameters", "_reset_parameters"):
        if callable(getattr(cls, name, None)):
            return name
    return None


@lru_cache(maxsize=256)
def dtype_name(dtype: torch.dtype) -> tuple[str, str | None]:
    """A dtype's name, and why a tensor of it can't be filled, if it can't."""
    name = str(dtype).removeprefix("torch.")
    return name, "quantized" if "qint" in name else "complex" if name.startswith("complex") else None


@lru_cache(maxsize=16)
def layout_name(layout: Any) -> str:
    return str(layout).removeprefix("torch.")


@lru_cache(maxsize=256)
def tensor_class(cls: type) -> tuple[bool, bool]:
    """Whether tensors of a class have no shape yet, and whether they are shards."""
    return "Uninitialized" in cls.__name__, hasattr(cls, "placements") and hasattr(cls, "device_mesh")


def is_sharded(tensor: Any) -> bool:
    """Whether a tensor is one rank's view of a tensor spread over a device mesh (a DTensor)."""
    cls: Any = type(tensor)
    return tensor_class(cls)[1]


def hook_computed(inside: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for hook in inside.get("_forward_pre_hooks", {}).values():
        kind = type(hook)
        computes = kind.__module__ in ("torch.nn.utils.weight_norm", "torch.nn.utils.spectral_norm")
        if computes and hasattr(hook, "name") and hook.name not in inside["_parameters"]:
            yield hook.name, hook
