"""Stages of a pipeline: models that hold some layers of a whole one."""

from __future__ import annotations

from collections.abc import Sequence

from .parts import ModuleInfo

__all__ = ["is_traced", "layers_of_a_part", "may_be_part", "part_of"]


# the class of the modules in a stage that `torch.distributed.pipelining.pipeline` traced, and that of the stage itself
TRACED, ROOT = "torch.export.unflatten.InterpreterModule", "torch.fx.graph_module.GraphModule"


def _keys(module: ModuleInfo) -> tuple[int, int] | None:
    """Return the first and last integer key of a module's children, where they don't start at 0."""
    if not module.children:
        return None
    first = module.places[0] if module.places else next(iter(module.children))
    if first == "0" or not first.isdecimal():
        return None
    keys = [int(key) for key in module.in_order if key.isdecimal()]
    return (min(keys), max(keys)) if min(keys) > 0 else None


def layers_of_a_part(module: ModuleInfo) -> str | None:
    """Say which layers a module has, where they don't start at 0."""
    keys = _keys(module)
    return None if keys is None else f"`{module.label}` has the layers {keys[0]} to {keys[1]}"


def is_traced(modules: Sequence[ModuleInfo]) -> bool:
    """Tell whether the modules of a model are those of a stage that `torch.distributed.pipelining.pipeline` traced."""
    if not any(base.qualname == ROOT for base in modules[0].cls.bases):
        return False
    return any(modules[child].cls.qualname == TRACED for child in modules[0].children.values())


def part_of(modules: Sequence[ModuleInfo]) -> str | None:
    """Say by what the modules of a model are taken for those of a stage; None where they are not."""
    for module in modules:
        layers = layers_of_a_part(module)
        if layers is not None:
            return layers
    return "this model is a traced stage of a pipeline" if modules and is_traced(modules) else None


def may_be_part(modules: Sequence[ModuleInfo]) -> bool:
    """Tell whether a model keeps its layers as stages do, by integer keys of a dict, some or all of which may be left."""
    return any(
        module.container == "dict" and not module.parameters and all(key.isdecimal() for key in module.children)
        for module in modules
    )
