"""Wrappers that names look through: data parallel, compiled, checkpointed and FSDP modules."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from initdsl.text.diagnostic import Diagnostic, ResolveError

from .kinds import is_torch_class

if TYPE_CHECKING:
    from torch import nn

__all__ = ["is_fsdp", "may_wrap", "opened", "unwrap"]


# torch's classes that wrap a module: by the module and name of each, the name it gives to what it holds
WRAPPERS = {
    ("torch._dynamo.eval_frame", "OptimizedModule"): "_orig_mod",
    ("torch.nn.parallel.distributed", "DistributedDataParallel"): "module",
    ("torch.nn.parallel.data_parallel", "DataParallel"): "module",
    ("torch.distributed.fsdp.fully_sharded_data_parallel", "FullyShardedDataParallel"): "_fsdp_wrapped_module",
    (
        "torch.distributed.algorithms._checkpoint.checkpoint_wrapper",
        "ActivationWrapper",
    ): "_checkpoint_wrapped_module",
}


# of torch's modules that give modules another class
FSDP = ("torch.distributed.fsdp", "torch.distributed._composable.fsdp")


# a module that holds itself would be unwrapped for ever
DEEPEST = 32


def unwrap(module: nn.Module) -> nn.Module:
    """Return the module inside wrappers of `torch.compile`, DDP, FSDP and activation checkpointing."""
    for _ in range(DEEPEST):
        inner = _inside(module)
        if inner is None:
            return module
        module = inner
    return module


def _inside(module: nn.Module) -> nn.Module | None:
    """Return the module that a wrapper holds, None where `module` is no wrapper. Runs no code of either."""
    cls: Any = type(module)
    name = _wrapped_name(cls)
    if name is None:
        return None
    state = object.__getattribute__(module, "__dict__")
    children = state.get("_modules", {})
    if len(children) != 1 or state.get("_parameters") or state.get("_buffers"):
        return None  # it has something of its own, which names have to reach
    inner: nn.Module | None = children.get(name)
    return inner


@lru_cache(maxsize=4096)
def _wrapped_name(cls: type) -> str | None:
    """Return the name under which modules of a class hold what they wrap; None for a class that is no wrapper of torch's."""
    return next((name for wrapper, name in WRAPPERS.items() if is_torch_class(cls, *wrapper)), None)


FLATTENED = Diagnostic(
    "flat-parameters",
    "FSDP1 keeps the parameters of this model in flat vectors, which no rule can name",
    hint="apply the rules before wrapping, within `FullyShardedDataParallel.summon_full_params(net)`, "
    "or shard with `fully_shard`",
)


GATHERED = Diagnostic(
    "gathered-parameters",
    "parameters of this model are gathered for computing, and what is written to them is lost",
    hint="call `reshard()` of its FSDP modules first",
)


def is_fsdp(cls: type) -> bool:
    """Tell whether `fully_shard` made this class, which it derives from FSDPModule and the module's own."""
    return any(is_torch_class(cls, module, "FSDPModule") for module in FSDP)


def opened(module: nn.Module) -> nn.Module:
    """As `unwrap`; raises ResolveError where FSDP holds the parameters in another form than the module does."""
    cls: Any = type(module)
    if not may_wrap(cls):
        return module
    for _ in range(DEEPEST):
        inner = _inside(module)
        if inner is None:
            break
        if _is_flattened(module):
            raise ResolveError(FLATTENED)
        module = inner
    cls = type(module)
    if is_fsdp(cls) and _is_gathered(module):
        raise ResolveError(GATHERED)
    return module


@lru_cache(maxsize=4096)
def may_wrap(cls: type) -> bool:
    """Return whether modules of a class may wrap another one, or are sharded."""
    return _wrapped_name(cls) is not None or is_fsdp(cls)


def _is_flattened(wrapper: nn.Module) -> bool:
    """Tell whether a wrapper is FSDP1's and keeps parameters in a flat vector, not in their modules."""
    handle = object.__getattribute__(wrapper, "__dict__").get("_handle")
    flat = getattr(handle, "flat_param", None)
    for info, shape in zip(getattr(flat, "_param_infos", ()), getattr(flat, "_shapes", ()), strict=False):
        parameter = info.module._parameters.get(info.param_name)
        if parameter is None or parameter.shape != shape:
            return True
    return False


def _is_gathered(module: nn.Module) -> bool:
    """Tell whether parameters of an FSDP2 module are copies gathered from all ranks, which the next reshard frees."""
    state = module._get_fsdp_state()  # type: ignore[operator]
    return not all(getattr(group, "is_sharded", True) for group in getattr(state, "_fsdp_param_groups", ()))
