"""Wrappers that names look through: data parallel, compiled, checkpointed and FSDP modules."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from initdsl.text.diagnostic import Diagnostic, ResolveError

if TYPE_CHECKING:
    from torch import nn

__all__ = ["opened", "unwrap"]


WRAPPED = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")


PARALLEL = ("DistributedDataParallel", "DataParallel")


def unwrap(module: nn.Module) -> nn.Module:
    """The module inside `torch.compile`, DDP, FSDP and activation-checkpoint wrappers."""
    for _ in range(32):
        inner = _inside(module)
        if inner is None:
            return module
        module = inner
    return module


def _inside(module: nn.Module) -> nn.Module | None:
    """What a wrapper wraps."""
    children = object.__getattribute__(module, "__dict__").get("_modules")
    if not children or len(children) != 1:
        return None
    ((name, child),) = children.items()
    parallel = name == "module" and any(c.__name__ in PARALLEL for c in type(module).__mro__)
    return child if name in WRAPPED or parallel else None


@lru_cache(maxsize=1024)
def _is_fsdp(cls: type) -> bool:
    return any(base.__name__ == "FSDPModule" for base in cls.__mro__[:4])


def opened(module: nn.Module) -> nn.Module:
    """As `unwrap`; raises ResolveError where FSDP holds the parameters in another form than the module does."""
    for _ in range(32):
        inner = _inside(module)
        if inner is None:
            break
        handle = object.__getattribute__(module, "__dict__").get("_handle")
        flat = getattr(handle, "flat_param", None)  # FSDP1's
        for info, shape in zip(getattr(flat, "_param_infos", ()), getattr(flat, "_shapes", ()), strict=False):
            parameter = info.module._parameters.get(info.param_name)
            if parameter is None or parameter.shape != shape:
                raise ResolveError(
                    Diagnostic(
                        "flat-parameters", "FSDP1 keeps the parameters of this network in flat vectors, which no rule can name",
                        hint="apply the rules before wrapping, within `FullyShardedDataParallel.summon_full_params(net)`, or shard with `fully_shard`",
                    )
                )  # fmt: skip
        module = inner
    cls: Any = type(module)
    if _is_fsdp(cls):
        state = module._get_fsdp_state()  # type: ignore[operator]
        if not all(getattr(group, "is_sharded", True) for group in getattr(state, "_fsdp_param_groups", ())):
            raise ResolveError(
                Diagnostic(
                    "gathered-parameters", "parameters of this network are gathered for computing, and what is written to them is lost",
                    hint="call `reshard()` of its FSDP modules first",
                )
            )  # fmt: skip
    return module
