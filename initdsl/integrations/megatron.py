"""Megatron-Core's tensor-parallel layers, filled as parts of the whole tensors that they are.

    from initdsl.integrations import megatron

    megatron.apply(model, "model.init", seed=7)      # on every rank, in place of `initdsl.apply`

The layers hold plain tensors, which say nothing of the whole. Here each is seen as the DTensor it amounts to, on the same
memory.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import nn

from initdsl.api import apply as applying
from initdsl.api import plan as planning
from initdsl.api.plan import Plan
from initdsl.api.report import Report
from initdsl.language.rules.loader import Rules
from initdsl.network.cut import cut_dimensions
from initdsl.text.diagnostic import Diagnostic, ResolveError

__all__ = ["apply", "as_dtensors", "plan"]


def apply(net: nn.Module, rules: Rules, **options: Any) -> Report:
    """Fill a model with tensor-parallel layers of Megatron-Core in place; the options are those of `initdsl.apply`.

    Each rank fills its part of the whole tensors; put together, the values are those of one process. Raises as that does,
    and ResolveError for rules that tie.
    """
    view = as_dtensors(net)
    made = planning.plan(view, rules, **{name: options[name] for name in PLANNED if name in options})
    if made.ties:
        message = "a tie would not reach the model: its tensor-parallel layers are seen through DTensors here"
        raise ResolveError(Diagnostic("tie-mismatch", message, hint="tie where the model is built"))
    return applying.apply(view, rules, **options)


def plan(net: nn.Module, rules: Rules, **options: Any) -> Plan:
    """Return what `apply` would do; the options are those of `initdsl.plan`."""
    return planning.plan(as_dtensors(net), rules, **options)


# options of `initdsl.apply` that `initdsl.plan` has too
PLANNED = ("seed", "vars", "strict", "initializers", "root", "whole")


def as_dtensors(net: nn.Module) -> nn.Module:
    """Return modules like those of a model, on the same memory, in which tensor-parallel parameters are DTensors."""
    return _seen(net, {}, {}, {})


def _seen(
    module: nn.Module, modules: dict[int, nn.Module], parameters: dict[int, Any], meshes: dict[int, Any]
) -> nn.Module:
    if id(module) in modules:
        return modules[id(module)]
    shell: nn.Module = object.__new__(type(module))
    shell.__dict__ = dict(module.__dict__)
    modules[id(module)] = shell
    cut = cut_dimensions(module.__dict__)
    shell._parameters = dict(module._parameters)
    for name, parameter in module._parameters.items():
        if parameter is not None and name in cut:
            if id(parameter) not in parameters:
                parameters[id(parameter)] = _dtensor(module, parameter, cut[name], meshes)
            shell._parameters[name] = parameters[id(parameter)]
    shell._modules = {
        name: None if child is None else _seen(child, modules, parameters, meshes)
        for name, child in module._modules.items()
    }
    return shell


def _dtensor(module: nn.Module, parameter: nn.Parameter, dim: int, meshes: dict[int, Any]) -> nn.Parameter:
    """Return a parameter that is cut along a dimension as a DTensor on its memory."""
    from torch.distributed.device_mesh import DeviceMesh
    from torch.distributed.tensor import DTensor, Shard
    from torch.distributed.tensor.placement_types import _StridedShard

    group = _group_of(module)
    if id(group) not in meshes:
        meshes[id(group)] = DeviceMesh.from_group(group, parameter.device.type, mesh_dim_names=("tp",))
    mesh = meshes[id(group)]
    stride = getattr(parameter, "partition_stride", 1)
    placement = Shard(dim) if stride == 1 else _StridedShard(dim, split_factor=stride)
    shape = list(parameter.shape)
    shape[dim] *= mesh.size()
    whole = torch.empty(shape, device="meta")
    seen = DTensor.from_local(
        parameter.detach(), mesh, [placement], run_check=False, shape=whole.size(), stride=whole.stride()
    )
    return nn.Parameter(seen, requires_grad=parameter.requires_grad)


def _group_of(module: nn.Module) -> Any:
    """Return the process group over which a layer is cut."""
    group = getattr(module, "tp_group", None)
    if group is not None:
        return group
    state: Any = sys.modules["megatron.core.parallel_state"]
    if getattr(module, "is_expert", False):
        return state.get_expert_tensor_parallel_group()
    return state.get_tensor_model_parallel_group()
