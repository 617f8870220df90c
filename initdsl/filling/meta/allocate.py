"""Memory for a model that was constructed without."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import nn

from initdsl import streams
from initdsl.filling.boxes import memory_of
from initdsl.filling.computed_weights import hooked_names, inverting, is_vector, seeded_vector
from initdsl.filling.random_state import isolated
from initdsl.network.description import Live, Network
from initdsl.network.kinds import is_sharded
from initdsl.planning.plan import Plan
from initdsl.text.diagnostic import Diagnostic, ResolveError
from initdsl.text.wording import listed

from .construct import like

__all__ = ["Valueless", "allocate", "give_memory", "meta_buffers", "put", "settle_buffers"]


class Place(NamedTuple):
    """A buffer in its module: `Place("net.0.running_mean", module, "running_mean")`."""

    name: str
    module: nn.Module
    local: str


class Valueless(NamedTuple):
    """Buffers on the meta device that get their values once parameters have memory.

    `vectors` are spectral norm's, which follow the weight; `recomputed` those that a module's own
    `init_non_persistent_buffers` (a convention of timm) computes.
    """

    vectors: list[Place]
    recomputed: list[Place]


# ---- buffers


def meta_buffers(plan: Plan, live: Live) -> Valueless:
    """Return the buffers computed from parameters. Raises ResolveError for those that nothing computes anew."""
    buffers = Valueless([], [])
    refused: list[str] = []
    written = {
        e.tensor.index for e in plan.entries if e.base is not None and not e.base.keeps and e.tensor.kind == "buffer"
    }
    own = {id(tensor) for tensor in live.tensors}
    weights = [e.tensor.owners[0] for e in plan.entries if e.tensor.kind == "parametrized" and e.actions]
    set_with_weight = {id(part) for owner, local in weights for part in inverting(live.modules[owner], local)}
    for info, module in zip(plan.network.modules, live.modules, strict=True):
        for local, buffer in module._buffers.items():
            if buffer is None or not buffer.is_meta or info.buffers.get(local, -1) in written:
                continue
            place = Place(f"{info.name}.{local}" if info.name else local, module, local)
            if is_vector(module, local):
                buffers.vectors.append(place)
            elif callable(getattr(type(module), "init_non_persistent_buffers", None)):
                buffers.recomputed.append(place)
            elif id(module) not in set_with_weight:
                refused.append(place.name)
        refused += [f"{info.name}.{local}" if info.name else local for local in _meta_attributes(module, own)]
    if refused:
        message = "these tensors are computed from parameters, which have no memory yet"
        hint = "give them rules, or build the model as usual and fill it with `initdsl.apply`"
        raise ResolveError(Diagnostic("needs-values", f"{message}: {listed(refused, 12)}", hint=hint))
    return buffers


def _meta_attributes(module: nn.Module, own: set[int]) -> Iterator[str]:
    """Yield the plain attributes of a module that are tensors on the meta device, but for those of `own` identities."""
    computed = hooked_names(module)
    for local, value in vars(module).items():
        if isinstance(value, torch.Tensor) and value.is_meta and local not in computed and id(value) not in own:
            yield local


def _recompute(places: list[Place], seed: int | None) -> None:
    for name, module in {id(module): (name, module) for name, module, _ in places}.values():
        with isolated(None if seed is None else streams.key(seed, name)), torch.no_grad():
            module.init_non_persistent_buffers()  # type: ignore[operator]
    unset = [name for name, module, local in places if getattr(module._buffers.get(local), "is_meta", False)]
    if unset:
        raise ResolveError(Diagnostic("needs-values", f"these buffers stay without values: {listed(unset, 12)}"))


def _start_vectors(places: list[Place], device: torch.device, seed: int | None) -> None:
    for name, module, local in places:
        buffer = module._buffers[local]
        assert buffer is not None
        if seed is None:
            drawn = torch.empty(buffer.shape, dtype=buffer.dtype, device=device).normal_()
            module._buffers[local] = nn.functional.normalize(drawn, dim=0)
        else:
            module._buffers[local] = seeded_vector(buffer, streams.key(seed, name), device)


# ---- allocating


def allocate(network: Network, live: Live, device: torch.device) -> None:
    """Give every parameter on the meta device memory, the objects staying the ones they are; move the rest."""
    shared = _shared(live)
    recurrent = [m for m in live.modules if hasattr(m, "_flat_weight_refs") and hasattr(m, "_init_flat_weights")]
    for module in recurrent:
        module._flat_weight_refs = []  # type: ignore[assignment]
    for info, tensor in zip(network.tensors, list(live.tensors), strict=True):
        if info.kind == "buffer" or tensor is None:
            continue
        if tensor.is_meta:
            give_memory(network, live, info.index, device, shared)
        elif tensor.device != device:
            tensor.data = tensor.data.to(device)
    for module in recurrent:
        module._init_flat_weights()  # type: ignore[operator]
    for module in live.modules:
        if callable(getattr(module, "_get_fsdp_state", None)):  # it keeps the memory of its shards: this shows it anew
            module._apply(lambda tensor: tensor, recurse=False)  # type: ignore[no-untyped-call]


# by the memory that stands for one of several parameters on the meta device, what it becomes
Shared = dict[int, torch.UntypedStorage | None]


def _shared(live: Live) -> Shared:
    """Return the memory that several tensors without memory share: `nn.Parameter(other.data)`."""
    tensors = [t for t in live.tensors if t is not None and not nn.parameter.is_lazy(t) and t.is_meta]
    counts = Counter(tensor.untyped_storage()._cdata for tensor in tensors if not is_sharded(tensor))
    return {storage: None for storage, count in counts.items() if count > 1}


def _memory(tensor: torch.Tensor, device: torch.device, shared: Shared) -> torch.Tensor:
    """Return memory for a tensor without; of a sharded one, for the part that this rank holds."""
    if is_sharded(tensor):
        from torch.distributed.tensor import DTensor

        shard: Any = tensor
        return DTensor.from_local(
            _memory(memory_of(tensor), device, {}),
            shard.device_mesh,
            shard.placements,
            run_check=False,
            shape=tensor.size(),
            stride=tensor.stride(),
        )
    key = tensor.untyped_storage()._cdata if shared else 0
    if key in shared:
        storage = shared[key]
        if storage is None:
            storage = shared[key] = torch.UntypedStorage(tensor.untyped_storage().nbytes(), device=device)  # type: ignore[no-untyped-call]
        empty = torch.empty(0, dtype=tensor.dtype, device=device)
        return empty.set_(storage, tensor.storage_offset(), tensor.size(), tensor.stride())
    return torch.empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype, device=device)


def give_memory(network: Network, live: Live, index: int, device: torch.device, shared: Shared | None = None) -> None:
    """Give a parameter on the meta device memory, the object staying the one it is wherever torch can do that."""
    tensor = live.tensors[index]
    assert isinstance(tensor, nn.Parameter)
    parameter = like(tensor, _memory(tensor, device, shared or {}))
    try:
        torch.utils.swap_tensors(tensor, parameter)  # type: ignore[no-untyped-call]
    except RuntimeError:  # something else refers to it: the modules at least get the same new object
        put(network, live, index, parameter)


def put(network: Network, live: Live, index: int, tensor: torch.Tensor) -> None:
    """Put a tensor in the place of the parameter or buffer of this number, under each of its names."""
    live.tensors[index] = tensor
    for owner, local in network.tensors[index].owners:
        module = live.modules[owner]
        if owner not in live.missing:
            (module._buffers if local in module._buffers else module._parameters)[local] = tensor  # type: ignore[assignment]


def settle_buffers(plan: Plan, live: Live, buffers: Valueless, device: torch.device) -> None:
    """Give buffers their values and move them to the device; those that a rule fills get their memory."""
    network = plan.network
    _start_vectors(buffers.vectors, device, plan.seed)
    _recompute(buffers.recomputed, plan.seed)
    moved: dict[int, torch.Tensor] = {}
    for module in live.modules:
        for local, buffer in module._buffers.items():
            if buffer is not None and not buffer.is_meta and buffer.device != device:
                module._buffers[local] = moved.setdefault(id(buffer), buffer.to(device))
    for info in network.tensors:
        if info.kind != "buffer":
            continue
        owner, local = info.owners[0]
        now = live.modules[owner]._buffers.get(local)
        if now is not None and now.is_meta and device.type != "meta":
            put(network, live, info.index, torch.empty(now.shape, dtype=now.dtype, device=device))
        elif now is not None:
            live.tensors[info.index] = now
