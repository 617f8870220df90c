"""Modules that stand in for others, on parameters of their own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from initdsl.checkpoints.store import Store
from initdsl.network.description import Live, Network
from initdsl.network.kinds import is_sharded
from initdsl.network.wrappers import unwrap

from .computed_weights import hooked_names
from .unset import has_nan

__all__ = ["bare", "named_skeleton", "plain_shell", "shell_of", "skeleton", "stand_in"]


def bare(module: nn.Module, cls: type[nn.Module] | None = None) -> nn.Module:
    """Return a module with the attributes of another one, of its class or of `cls`: not even the dicts of tensors differ."""
    shell: nn.Module = object.__new__(cls or type(module))
    shell.__dict__ = dict(module.__dict__)
    return shell


def shell_of(module: nn.Module, stand_ins: dict[int, torch.Tensor], device: str = "cpu") -> nn.Module:
    """Return a module like this one on parameters of its own: contiguous, float32 or float64, the values copied.

    So are its persistent buffers, of their own dtypes. `stand_ins` gets all those by the identity of what they stand for.
    Everything else is shared, but for other buffers on the meta device.
    """
    shell = bare(module)
    shell._parameters = {}
    for name, value in module._parameters.items():
        if value is None or nn.parameter.is_lazy(value):
            shell._parameters[name] = value
            continue
        if id(value) not in stand_ins:
            stand_ins[id(value)] = nn.Parameter(_plain_values(value, device), requires_grad=False)
        shell._parameters[name] = stand_ins[id(value)]  # type: ignore[assignment]
    for name in hooked_names(module):
        computed = shell.__dict__.get(name)
        if isinstance(computed, torch.Tensor):
            shell.__dict__[name] = torch.empty(computed.shape, device=device)
    shell._modules = {
        name: None if child is None else shell_of(child, stand_ins, device) for name, child in module._modules.items()
    }
    shell._buffers = dict(module._buffers)
    for name, buffer in module._buffers.items():
        if buffer is None or nn.parameter.is_lazy(buffer):
            continue
        if name not in module._non_persistent_buffers_set and not is_sharded(buffer):
            if id(buffer) not in stand_ins:
                stand_ins[id(buffer)] = buffer.detach().to(device, copy=True)
            shell._buffers[name] = stand_ins[id(buffer)]
        elif device == "meta":
            shell._buffers[name] = buffer.detach().to("meta")
    return shell


def _plain_values(parameter: nn.Parameter, device: str) -> torch.Tensor:
    """Return a parameter's values, contiguous and in float32, or in float64 where they are in that."""
    dtype = torch.float64 if parameter.dtype == torch.float64 else torch.float32
    dtype = dtype if parameter.is_floating_point() else parameter.dtype
    dtype = torch.complex64 if dtype == torch.complex32 else dtype
    values = torch.empty(parameter.shape, dtype=dtype, device=device)
    if is_sharded(parameter):  # what no rank holds whole: a reset that builds on it shows
        values.fill_(math.nan if has_nan(values) else 0)
    elif not values.is_meta and not parameter.is_meta:
        values.copy_(parameter.detach())
    return values


def plain_shell(module: nn.Module, local: str, value: torch.Tensor) -> nn.Module:
    """Return a module like this one, in which a computed weight is a plain parameter of these values."""
    cls = type(module)
    if cls.__module__ == "torch.nn.utils.parametrize" and len(cls.__mro__) > 1:
        cls = cls.__mro__[1]
    shell = bare(module, cls)
    shell.__dict__.pop(local, None)
    shell._parameters = {
        name: None if value is None else nn.Parameter(value.detach().clone(), requires_grad=False)
        for name, value in module._parameters.items()
        if not name.startswith(f"{local}_")
    }
    shell._parameters[local] = nn.Parameter(value.clone(), requires_grad=False)
    for other in hooked_names(module) - {local}:  # the reset sets those too
        computed = shell.__dict__.get(other)
        if isinstance(computed, torch.Tensor):
            shell.__dict__[other] = computed.detach().clone()
    return shell


def stand_in(module: nn.Module, stand_ins: dict[int, Any]) -> nn.Module:
    """Return the same modules on parameters without memory; buffers are copies, everything else is shared.

    `stand_ins` gets modules, parameters and buffers by the identity of what they stand for.
    """
    if id(module) in stand_ins:
        earlier: nn.Module = stand_ins[id(module)]
        return earlier
    shell = stand_ins[id(module)] = bare(module)
    shell._parameters, shell._buffers = {}, {}
    for name, value in module._parameters.items():
        if value is not None and not nn.parameter.is_lazy(value) and id(value) not in stand_ins:
            empty = torch.empty(tuple(value.shape), dtype=value.dtype, device="meta")
            stand_ins[id(value)] = nn.Parameter(empty, requires_grad=value.requires_grad)
        shell._parameters[name] = value if value is None else stand_ins.get(id(value), value)
    for name, buffer in module._buffers.items():
        if buffer is not None and id(buffer) not in stand_ins:
            stand_ins[id(buffer)] = buffer.detach().clone()
        shell._buffers[name] = None if buffer is None else stand_ins[id(buffer)]
    shell._modules = {
        name: None if child is None else stand_in(unwrap(child), stand_ins) for name, child in module._modules.items()
    }
    return shell


def skeleton(network: Network) -> Live:
    """Return modules of no class in the shape of a described model, so that its tensors have places."""
    live = Live([nn.Module() for _ in network.modules], [])
    for info in network.tensors:
        empty = torch.empty(info.shape, dtype=getattr(torch, info.dtype), device="meta")
        live.tensors.append(nn.Parameter(empty, False) if info.kind == "parameter" else empty)
        if info.kind == "parametrized":
            live.tensors[-1] = None
    for described, module in zip(network.modules, live.modules, strict=True):
        module._modules.update({name: live.modules[child] for name, child in described.children.items()})
        module._parameters.update({name: live.tensors[i] for name, i in described.parameters.items()})  # type: ignore[misc]
        module._buffers.update({name: live.tensors[i] for name, i in described.buffers.items()})
    return live


def named_skeleton(store: Store) -> nn.Module:
    """Return modules of no class that hold tensors of a store's names and shapes."""
    tree: dict[str, Any] = {}
    tensors: dict[str, torch.Tensor] = {}  # by the first of a shared tensor's names
    for name in (*store.tensors, *(n for n in store.others if n not in store.tensors)):
        first = store.others.get(name, name)
        if first not in store.tensors:
            continue
        if first not in tensors:
            described = store.tensors[first]
            empty = torch.empty(described.shape, dtype=described.dtype, device="meta")
            tensors[first] = nn.Parameter(empty, False) if described.dtype.is_floating_point else empty
        *path, local = name.split(".")
        branch = tree
        for step in path:
            branch = branch.setdefault(step, {})
            if not isinstance(branch, dict):
                raise ValueError(f"`{name}` in `{store.where}` lies inside another tensor")
        if local in branch:
            raise ValueError(f"`{name}` in `{store.where}` is a tensor and holds others")
        branch[local] = tensors[first]
    return _module(tree)


def _module(tree: Mapping[str, Any]) -> nn.Module:
    """Return the module of a tree of names, whose leaves are tensors; a list where all its children are numbered."""
    below = {name: _module(value) for name, value in tree.items() if isinstance(value, dict)}
    numbered = len(below) == len(tree) > 0 and sorted(below) == sorted(map(str, range(len(below))))
    module: nn.Module = nn.ModuleList() if numbered else nn.Module()
    module._modules.update({str(i): below[str(i)] for i in range(len(below))} if numbered else below)
    running = "num_batches_tracked" in tree
    for name, value in tree.items():
        if isinstance(value, nn.Parameter) and not (running and name.startswith("running_")):
            module._parameters[name] = value
        elif isinstance(value, torch.Tensor):
            module._buffers[name] = value.detach()
    return module
