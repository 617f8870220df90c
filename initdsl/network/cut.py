"""Parameters that are parts of a tensor, or nothing at all, and don't say so as a DTensor does: refused by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from initdsl.text.diagnostic import Diagnostic, ResolveError

from .kinds import is_sharded

__all__ = ["cut_dimensions", "is_of_megatron", "refuse_cut", "refuse_partitioned"]


# of Megatron-Core's layers: the attribute with the size of the whole, that of the part, and the dimension of each parameter
LAYERS = (
    ("output_size", "output_size_per_partition", {"weight": 0, "bias": 0}),
    ("input_size", "input_size_per_partition", {"weight": 1}),
    ("num_embeddings", "num_embeddings_per_partition", {"weight": 0}),
)


def is_of_megatron(cls: type) -> bool:
    """Tell whether a class is, or derives from, a layer of Megatron-Core or Transformer Engine."""
    return any(base.__module__.partition(".")[0] in ("megatron", "transformer_engine") for base in cls.__mro__)


def cut_dimensions(state: Mapping[str, Any]) -> dict[str, int]:
    """Return along which dimension the parameters of a tensor-parallel layer are cut, by name; `state` is its `__dict__`."""
    for whole, part, dimensions in LAYERS:
        if isinstance(state.get(part), int) and state.get(whole) != state[part]:
            return dimensions
    return {}


def refuse_cut(state: Mapping[str, Any], path: str) -> None:
    """Raise ResolveError for a tensor-parallel layer whose parameters are plain tensors; `state` is its `__dict__`."""
    cut = [name for name in cut_dimensions(state) if not is_sharded(state["_parameters"].get(name))]
    held = [name for name in cut if state["_parameters"].get(name) is not None]
    if held:
        message = f"`{path}.{held[0]}` is this rank's part of a tensor that Megatron-Core has cut, and does not say so"
        hint = "`initdsl.integrations.megatron.apply(net, rules, seed=...)` fills the parts"
        raise ResolveError(Diagnostic("unknown-shards", message, hint=hint))
    size = state.get("tp_size")
    if isinstance(size, int) and size > 1 and not cut and state["_parameters"]:
        message = f"`{path}` is cut over {size} ranks by Transformer Engine, and does not say how"
        hint = "fill the checkpoint that the ranks load: `initdsl.stream(factory, rules, folder, seed=...)`"
        raise ResolveError(Diagnostic("unknown-shards", message, hint=hint))


def refuse_partitioned(attributes: Mapping[str, Any], numel: int, name: str) -> None:
    """Raise ResolveError for a parameter that DeepSpeed has taken apart: it is empty until it is gathered."""
    if numel == 0 and "ds_tensor" in attributes:
        message = f"DeepSpeed ZeRO-3 has taken `{name}` apart: nothing of it is here"
        hint = (
            "apply the rules to a model that was built outside `deepspeed.zero.Init`, before `deepspeed.initialize`, or "
            "on every rank within `deepspeed.zero.GatheredParameters(list(net.parameters()), modifier_rank=0)`"
        )
        raise ResolveError(Diagnostic("gathered-parameters", message, hint=hint))
