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

__all__ = ["named_skeleton", "plain_reset", "shell_of", "skeleton", "stand_in"]


def shell_of(module: nn.Module, made: dict[int, nn.Parameter], device: str = "cpu") -> nn.Module:
    """A module like this one on parameters of its own: contiguous, float32 (float64 where they are), the values copied.

    `made` gets the stand-ins by the identity of what they stand for. Everything else is shared, but for buffers on
    the meta device.
    """
    shell = object.__new__(type(module))
    shell.__dict__ = dict(module.__dict__)
    shell._parameters = {}
    for name, value in module._parameters.items():
        if value is not None and not nn.parameter.is_lazy(value):
            if id(value) not in made:
                dtype = torch.float64 if value.dtype == torch.float64 else torch.float32
                dtype = dtype if value.is_floating_point() else value.dtype
                values = torch.empty(value.shape, dtype=dtype, device=device)
                if is_sharded(value):  # what no rank holds whole: a reset that builds on it is found out
                    values.fill_(math.nan if values.is_floating_point() else 0)
                elif not values.is_meta and not value.is_meta:
                    values.copy_(value.detach())
                made[id(value)] = nn.Parameter(values, requires_grad=False)
            shell._parameters[name] = made[id(value)]
        else:
            shell._parameters[name] = value
    for hook in module._forward_pre_hooks.values():
        computed = shell.__dict__.get(getattr(hook, "name", ""))
        if isinstance(computed, torch.Tensor):
            shell.__dict__[hook.name] = torch.empty(computed.shape, device=device)  # type: ignore[attr-defined]
    shell._modules = {
        name: None if child is None else shell_of(child, made, device) for name, child in module._modules.items()
    }
    if device == "meta":
        shell._buffers = {
            name: None if value is None else value.detach().to("meta") for name, value in module._buffers.items()
        }
    return shell


def plain_reset(module: nn.Module, reset: str, local: str, like: torch.Tensor) -> torch.Tensor:
    """What the module's own reset gives a computed weight: run on a shell of it that holds plain parameters."""
    cls = type(module)
    if cls.__module__ == "torch.nn.utils.parametrize" and len(cls.__mro__) > 1:
        cls = cls.__mro__[1]
    shell = object.__new__(cls)
    shell.__dict__ = dict(module.__dict__)
    shell.__dict__.pop(local, None)
    shell._parameters = {
        name: None if value is None else nn.Parameter(value.detach().clone(), requires_grad=False)
        for name, value in module._parameters.items()
        if not name.startswith(f"{local}_")
    }
    shell._parameters[local] = nn.Parameter(like.clone(), requires_grad=False)
    getattr(shell, reset)()
    value = shell._parameters[local]
    assert value is not None
    return value.detach()


def stand_in(module: nn.Module, known: dict[int, Any]) -> nn.Module:
    """The same modules on parameters without memory; buffers are copies, everything else is shared."""
    if id(module) in known:
        made: nn.Module = known[id(module)]
        return made
    shell = known[id(module)] = object.__new__(type(module))
    shell.__dict__ = dict(module.__dict__)
    shell._parameters, shell._buffers = {}, {}
    for name, value in module._parameters.items():
        if value is not None and not nn.parameter.is_lazy(value) and id(value) not in known:
            empty = torch.empty(tuple(value.shape), dtype=value.dtype, device="meta")
            known[id(value)] = nn.Parameter(empty, requires_grad=value.requires_grad)
        shell._parameters[name] = value if value is None else known.get(id(value), value)
    for name, buffer in module._buffers.items():
        if buffer is not None and id(buffer) not in known:
            known[id(buffer)] = buffer.detach().clone()
        shell._buffers[name] = None if buffer is None else known[id(buffer)]
    shell._modules = {
        name: None if child is None else stand_in(unwrap(child), known) for name, child in module._modules.items()
    }
    return shell


def skeleton(network: Network) -> Live:
    """Modules of no class in the shape of a described network, so that its tensors have places."""
    live = Live([nn.Module() for _ in network.modules], [])
    for info in network.tensors:
        empty = torch.empty(info.shape, dtype=getattr(torch, info.dtype), device="meta")
        live.tensors.append(nn.Parameter(empty, False) if info.kind == "parameter" else empty)
        if info.kind == "parametrized":
            live.tensors[-1] = None
    for module, made in zip(network.modules, live.modules, strict=True):
        made._modules.update({name: live.modules[child] for name, child in module.children.items()})
        made._parameters.update({name: live.tensors[i] for name, i in module.parameters.items()})  # type: ignore[misc]
        made._buffers.update({name: live.tensors[i] for name, i in module.buffers.items()})
    return live


def named_skeleton(store: Store) -> nn.Module:
    """Modules of no class that hold tensors of a store's names and shapes."""
    tree: dict[str, Any] = {}
    known: dict[str, torch.Tensor] = {}
    for name in (*store.tensors, *(n for n in store.others if n not in store.tensors)):
        first = store.others.get(name, name)
        if first not in store.tensors:
            continue
        if first not in known:
            found = store.tensors[first]
            empty = torch.empty(found.shape, dtype=found.dtype, device="meta")
            known[first] = nn.Parameter(empty, False) if found.dtype.is_floating_point else empty
        *path, local = name.split(".")
        at = tree
        for step in path:
            at = at.setdefault(step, {})
            if not isinstance(at, dict):
                raise ValueError(f"`{name}` in `{store.where}` lies inside another tensor")
        if local in at:
            raise ValueError(f"`{name}` in `{store.where}` is a tensor and holds others")
        at[local] = known[first]
    return _module(tree)


def _module(tree: Mapping[str, Any]) -> nn.Module:
    below = {name: _module(value) for name, value in tree.items() if isinstance(value, dict)}
    numbered = len(below) == len(tree) > 0 and sorted(below) == sorted(map(str, range(len(below))))
    made: nn.Module = nn.ModuleList() if numbered else nn.Module()
    made._modules.update({str(i): below[str(i)] for i in range(len(below))} if numbered else below)
    running = "num_batches_tracked" in tree
    for name, value in tree.items():
        if isinstance(value, nn.Parameter) and not (running and name.startswith("running_")):
            made._parameters[name] = value
        elif isinstance(value, torch.Tensor):
            made._buffers[name] = value.detach()
    return made
