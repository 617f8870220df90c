"""Memory for a network that was constructed without."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from initdsl import streams
from initdsl.filling.boxes import memory_of
from initdsl.initializers import Normal
from initdsl.network.description import Live, Network
from initdsl.network.kinds import is_sharded
from initdsl.planning.plan import Plan
from initdsl.text.diagnostic import Diagnostic, ResolveError
from initdsl.text.wording import listed

from .construct import like

__all__ = ["allocate", "give_memory", "meta_buffers", "settle_buffers"]


# ---- buffers


Place = tuple[str, nn.Module, str]


def meta_buffers(plan: Plan, live: Live) -> tuple[list[Place], list[Place]]:
    """Buffers computed from parameters: spectral norm's vectors, which follow the weight, and those that a module's
    own `init_non_persistent_buffers` (a convention of timm) computes anew. Any other is refused.
    """
    spectral: list[Place] = []
    computed: list[Place] = []
    refused: list[str] = []
    written = {e.tensor.index for e in plan.entries if e.base is not None and e.tensor.kind == "buffer"}
    own = {id(tensor) for tensor in live.tensors}
    for info, module in zip(plan.network.modules, live.modules, strict=True):
        for local, buffer in module._buffers.items():
            if buffer is None or not buffer.is_meta or info.buffers[local] in written:
                continue
            name = f"{info.name}.{local}" if info.name else local
            hooked = any(type(hook).__name__ == "SpectralNorm" for hook in module._forward_pre_hooks.values())
            if type(module).__name__ == "_SpectralNorm" or (hooked and local.endswith(("_u", "_v"))):
                spectral.append((name, module, local))
            elif callable(getattr(type(module), "init_non_persistent_buffers", None)):
                computed.append((name, module, local))
            else:
                refused.append(name)
        computed_here = {getattr(hook, "name", None) for hook in module._forward_pre_hooks.values()}
        for local, value in vars(module).items():
            if (
                isinstance(value, torch.Tensor)
                and value.is_meta
                and local not in computed_here
                and id(value) not in own
            ):
                refused.append(f"{info.name}.{local}" if info.name else local)
    if refused:
        raise ResolveError(
            Diagnostic(
                "needs-values", f"these tensors are computed from parameters, which have no memory yet: {listed(refused, 12)}",
                hint="give them rules, or build the network as usual and fill it with `initdsl.apply`",
            )
        )  # fmt: skip
    return spectral, computed


def _recompute(computed: list[Place], seed: int | None) -> None:
    from initdsl.filling.random_state import isolated

    for name, module in {id(module): (name, module) for name, module, _ in computed}.values():
        with isolated(None if seed is None else streams.key(seed, name)), torch.no_grad():
            module.init_non_persistent_buffers()  # type: ignore[operator]
    left = [name for name, module, local in computed if getattr(module._buffers.get(local), "is_meta", False)]
    if left:
        raise ResolveError(Diagnostic("needs-values", f"these buffers stay without values: {listed(left, 12)}"))


def _start_vectors(spectral: list[Place], device: torch.device, seed: int | None) -> None:
    for name, module, local in spectral:
        buffer = module._buffers[local]
        assert buffer is not None
        vector = torch.empty(buffer.shape, dtype=buffer.dtype, device=device)
        if seed is None:
            vector.normal_()
        else:
            streams.fill(vector, Normal(0.0, 1.0), streams.key(seed, name))
        module._buffers[local] = nn.functional.normalize(vector, dim=0)


# ---- allocating


def allocate(network: Network, live: Live, device: torch.device) -> None:
    """Memory for every parameter on the meta device, the objects staying the ones they are; the rest is moved."""
    recurrent = [m for m in live.modules if hasattr(m, "_flat_weight_refs") and hasattr(m, "_init_flat_weights")]
    for module in recurrent:
        module._flat_weight_refs = []  # type: ignore[assignment]
    for info, tensor in zip(network.tensors, list(live.tensors), strict=True):
        if info.kind == "buffer":
            continue
        if tensor is None:
            continue
        if tensor.is_meta:
            give_memory(network, live, info.index, device)
        elif tensor.device != device:
            tensor.data = tensor.data.to(device)
    for module in recurrent:
        module._init_flat_weights()  # type: ignore[operator]
    for module in live.modules:
        if callable(getattr(module, "_get_fsdp_state", None)):  # it keeps the memory of its shards: this shows it anew
            module._apply(lambda tensor: tensor, recurse=False)  # type: ignore[no-untyped-call]


def _memory(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Memory for a tensor without; of a sharded one, for the part that this rank holds."""
    if is_sharded(tensor):
        from torch.distributed.tensor import DTensor

        shard: Any = tensor
        return DTensor.from_local(
            _memory(memory_of(tensor), device), shard.device_mesh, shard.placements, run_check=False,
            shape=tensor.size(), stride=tensor.stride(),
        )  # fmt: skip
    return torch.empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype, device=device)


def give_memory(network: Network, live: Live, index: int, device: torch.device) -> None:
    """Memory for a parameter on the meta device, the object staying the one it is wherever torch can do that."""
    tensor = live.tensors[index]
    assert isinstance(tensor, nn.Parameter)
    made = like(tensor, _memory(tensor, device))
    try:
        torch.utils.swap_tensors(tensor, made)  # type: ignore[no-untyped-call]
    except RuntimeError:  # something else refers to it: the modules at least get the same new object
        live.tensors[index] = made
        for owner, local in network.tensors[index].owners:
            live.modules[owner]._parameters[local] = made


def settle_buffers(
    plan: Plan, live: Live, without_values: tuple[list[Place], list[Place]], device: torch.device
) -> None:
    """Buffers with their values, on the device; those that a rule fills get their memory."""
    network = plan.network
    spectral, computed = without_values
    _start_vectors(spectral, device, plan.seed)
    _recompute(computed, plan.seed)
    moved: dict[int, torch.Tensor] = {}
    for module in live.modules:
        for local, buffer in module._buffers.items():
            if buffer is not None and not buffer.is_meta and buffer.device != device:
                module._buffers[local] = moved.setdefault(id(buffer), buffer.to(device))
    for info in network.tensors:
        if info.kind == "buffer":
            owner, local = info.owners[0]
            found = live.modules[owner]._buffers.get(local)
            if found is not None:
                if found.is_meta and device.type != "meta":
                    found = torch.empty(found.shape, dtype=found.dtype, device=device)
                    for each, name in info.owners:
                        live.modules[each]._buffers[name] = found
                live.tensors[info.index] = found
