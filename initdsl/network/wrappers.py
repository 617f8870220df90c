"""Wrappers that names look through: data parallel, compiled, checkpointed and FSDP modules."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from initdsl.text.diagnostic import Diagnostic, ResolveError

if TYPE_CHECKING:
    from torch import nn

__all__ = ["opened", "unwrap"]


# names that wrappers, and they alone, give to what they hold
WRAPPED = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")


# classes whose child is named `module`, as other classes name children of theirs
PARALLEL = ("DistributedDataParallel", "DataParallel")


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
    children = object.__getattribute__(module, "__dict__").get("_modules")
    if not children or len(children) != 1:
        return None
    ((name, child),) = children.items()
    parallel = name == "module" and any(c.__name__ in PARALLEL for c in type(module).__mro__)
    return child if name in WRAPPED or parallel else None


FLATTENED = Diagnostic(
    "flat-parameters",
    "FSDP1 keeps the parameters of this network in flat vectors, which no rule can name",
    hint="apply the rules before wrapping, within `FullyShardedDataParallel.summon_full_params(net)`, "
    "or shard with `fully_shard`",
)


GATHERED = Diagnostic(
    "gathered-parameters",
    "parameters of this network are gathered for computing, and what is written to them is lost",
    hint="call `reshard()` of its FSDP modules first",
)


@lru_cache(maxsize=1024)
def _is_fsdp(cls: type) -> bool:
    """Tell whether `fully_shard` made this class, which it derives from FSDPModule and the module's own."""
    return any(base.__name__ == "FSDPModule" for base in cls.__mro__[:4])


def opened(module: nn.Module) -> nn.Module:
    """As `unwrap`; raises ResolveError where FSDP holds the parameters in another form than the module does."""
    for _ in range(DEEPEST):
        inner = _inside(module)
        if inner is None:
            break
        if _is_flattened(module):
            raise ResolveError(FLATTENED)
        module = inner
    cls: Any = type(module)
    if _is_fsdp(cls) and _is_gathered(module):
        raise ResolveError(GATHERED)
    return module


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
