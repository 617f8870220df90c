"""Describing an `nn.Module`: its modules, classes, attributes, tensors and ties, as plain values.

No code of the network runs, as it may have side effects or fail: attributes are read from `__dict__`, so that neither
properties nor a `__getattr__` are asked.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Generic, Protocol

from initdsl.text.diagnostic import Diagnostic, ResolveError

from .attributes import Attributes, class_values
from .description import Live, Network
from .garbage import MANY, no_collection
from .kinds import (
    dtype_name,
    hook_computed,
    is_parametrization,
    is_sharded,
    layout_name,
    reset_method,
    tensor_class,
)
from .parts import ClassInfo, ModuleInfo, TensorInfo, label_within
from .wrappers import is_fsdp, opened

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["class_info", "describe", "refuse_torchscript"]


@lru_cache(maxsize=4096)
def class_info(cls: type) -> ClassInfo:
    """Return a class by name; one made at run time (`ParametrizedLinear`, `FSDPLinear`) counts as the class it wraps."""
    mro = cls.__mro__
    if cls.__module__ == "torch.nn.utils.parametrize" and cls.__name__.startswith("Parametrized") and len(mro) > 1:
        return class_info(mro[1])
    if len(mro) > 2 and is_fsdp(cls) and is_fsdp(mro[1]) and cls.__name__ == f"FSDP{mro[2].__name__}":
        return class_info(mro[2])
    public = getattr(sys.modules.get("torch.nn"), cls.__name__, None)
    aliases = (f"torch.nn.{cls.__name__}",) if public is cls else ()
    bases = tuple(class_info(base) for base in mro[1:] if base not in (object, Generic, Protocol))
    return ClassInfo(cls.__name__, f"{cls.__module__}.{cls.__qualname__}", aliases, bases)


def describe(net: nn.Module) -> tuple[Network, Live]:
    """Return a network's description, and the objects behind it. Runs none of its code, changes nothing.

    Raises TypeError for anything but an `nn.Module`, ResolveError where FSDP holds its parameters in another form.
    """
    from torch import nn

    if not isinstance(net, nn.Module):
        raise TypeError(f"a network is an nn.Module, not {type(net).__name__}")
    with no_collection(False) as hold:
        return _describe(net, hold)


def _describe(net: nn.Module, hold: Callable[[], None]) -> tuple[Network, Live]:
    walk = _walk(net, hold)
    tensors = _tensors(walk)
    modules = []
    for index, (path, label) in enumerate(zip(walk.names, walk.labels, strict=True)):
        (cls, container), (reset, values, inherited) = walk.classes[index], walk.attributes[index]
        parameters, buffers, absent, transient = tensors.by_module[index]
        children, parents = walk.children[index], tuple(walk.parents[index])
        modules.append(
            ModuleInfo(
                index,
                path,
                label,
                cls,
                container,
                children,
                parameters,
                buffers,
                absent,
                parents,
                reset,
                values,
                inherited,
                transient,
                _places(walk.modules[index], container),
            )
        )
    return Network(tuple(modules), tensors.infos()), Live(walk.modules, tensors.live)


@dataclass(frozen=True)
class _Walk:
    """The modules of a network in pre-order, and one entry for each module in every other list.

    `classes` are its class and kind of container; `attributes` the name of its reset method, its plain attributes and
    those of its class; `parents` are `(index of a module, name of this one in it)`.
    """

    modules: list[nn.Module] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    classes: list[tuple[ClassInfo, str]] = field(default_factory=list)
    attributes: list[tuple[str | None, Attributes, dict[str, Any]]] = field(default_factory=list)
    children: list[dict[str, int]] = field(default_factory=list)
    parents: list[list[tuple[int, str]]] = field(default_factory=list)


def _torchscript(cls: type, name: str) -> ResolveError:
    """Return the error that a module is TorchScript: its classes and modules are out of Python's sight."""
    what = f"`{name}` of this network" if name else "this network"
    message = f"{what} is TorchScript (`{cls.__name__}`), which has no layers to select"
    hint = "fill the network before it is scripted or traced, or fill one that is not and load its state dict"
    return ResolveError(Diagnostic("torchscript", message, hint=hint))


def refuse_torchscript(net: nn.Module) -> None:
    """Refuse a network with modules of TorchScript. Raises ResolveError."""
    for name, module in net.named_modules():
        cls: type = type(module)
        if cls.__module__.startswith("torch.jit"):
            raise _torchscript(cls, name)


def _walk(net: nn.Module, hold: Callable[[], None]) -> _Walk:
    """Walk a network's modules, each once."""
    walk = _Walk()
    indices: dict[int, int] = {}  # of modules by their id: all are alive meanwhile
    facts: dict[type, tuple[ClassInfo, str, str | None, dict[str, Any]]] = {}
    # pre-order, with an explicit stack, as networks may be deep: (module, parent index, name in parent)
    stack: list[tuple[nn.Module, int, str]] = [(opened(net), -1, "")]
    while stack:
        module, parent, name = stack.pop()
        index = indices.setdefault(id(module), len(walk.modules))
        if parent >= 0:
            walk.children[parent][name] = index
        if index < len(walk.modules):
            walk.parents[index].append((parent, name))
            continue
        if index == MANY:
            hold()
        module_class: type = type(module)
        class_facts = facts.get(module_class)
        if class_facts is None:
            if module_class.__module__.startswith("torch.jit"):
                raise _torchscript(module_class, f"{walk.names[parent]}.{name}" if parent > 0 else name)
            cls = class_info(module_class)
            class_facts = (cls, _container(cls), reset_method(module_class), class_values(module_class))
            facts[module_class] = class_facts
        cls, container, reset, inherited = class_facts
        state = object.__getattribute__(module, "__dict__")
        walk.modules.append(module)
        walk.classes.append((cls, container))
        walk.attributes.append((reset, Attributes(state.copy()), inherited))
        if parent >= 0:
            prefix = walk.names[parent]
            walk.names.append(f"{prefix}.{name}" if prefix else name)
            walk.labels.append(label_within(walk.labels[parent], walk.classes[parent][1], name))
            walk.parents.append([(parent, name)])
        else:
            walk.names.append("")
            walk.labels.append("net")
            walk.parents.append([])
        children = state["_modules"]
        # in the order of registration, whatever order they are met in
        walk.children.append({key: -1 for key, child in children.items() if child is not None})
        if children:
            entries = [(opened(child), index, key) for key, child in children.items() if child is not None]
            stack.extend(reversed(entries))
    return walk


LISTS = frozenset(f"torch.nn.modules.container.{name}" for name in ("Sequential", "ModuleList", "ParameterList"))


DICTS = frozenset(f"torch.nn.modules.container.{name}" for name in ("ModuleDict", "ParameterDict"))


@lru_cache(maxsize=4096)
def _container(cls: ClassInfo) -> str:
    """Return "list" or "dict" for a class that derives from such a container of torch, "" for any other."""
    names = {cls.qualname, *(base.qualname for base in cls.bases)}
    return "list" if names & LISTS else "dict" if names & DICTS else ""


def _places(module: nn.Module, container: str) -> tuple[str, ...]:
    """Return the names of all places of a list, where some hold no module (None) or no parameter (a plain value)."""
    if container != "list":
        return ()
    state = object.__getattribute__(module, "__dict__")
    children, parameters = state["_modules"], state["_parameters"]
    if children:
        return tuple(children) if None in children.values() else ()
    size = state.get("_size")  # of a ParameterList
    if not isinstance(size, int) or size == len(parameters):
        return ()
    return tuple(map(str, range(size)))


# of one module: the indices of its parameters and buffers by local name, the names of those that are None, and those of
# the buffers that state dicts leave out
Held = tuple[dict[str, int], dict[str, int], frozenset[str], frozenset[str]]


@dataclass(frozen=True)
class _Tensors:
    """The tensors of a network, each once: `rows` are the fields of its TensorInfo but for the last, its owners.

    `live` are the objects, None for a computed tensor; `by_module` has an entry for each module.
    """

    rows: list[tuple[Any, ...]] = field(default_factory=list)
    owners: list[list[tuple[int, str]]] = field(default_factory=list)
    live: list[torch.Tensor | None] = field(default_factory=list)
    by_module: list[Held] = field(default_factory=list)

    def infos(self) -> tuple[TensorInfo, ...]:
        """Return the tensors as values."""
        return tuple(
            [TensorInfo._make((*row, tuple(owners))) for row, owners in zip(self.rows, self.owners, strict=True)]
        )


NOTHING: frozenset[str] = frozenset()


def _tensors(walk: _Walk) -> _Tensors:
    """Collect the tensors of a network's modules, under all their names."""
    tensors = _Tensors()
    indices: dict[int, int] = {}  # of tensors by their id: all are alive meanwhile
    computing = _parametrizations(walk)
    for index, module in enumerate(walk.modules):
        state = object.__getattribute__(module, "__dict__")
        prefix = f"{name}." if (name := walk.names[index]) else ""
        parameters: dict[str, int] = {}
        buffers: dict[str, int] = {}
        absent = []
        for registry, kind, numbers in (("_parameters", "parameter", parameters), ("_buffers", "buffer", buffers)):
            for local, tensor in state[registry].items():
                if tensor is None:
                    absent.append(local)
                    continue
                number = indices.get(id(tensor))
                if number is None:
                    number = indices[id(tensor)] = len(tensors.rows)
                    tensors.rows.append(_row(number, f"{prefix}{local}", tensor, kind))
                    tensors.owners.append([])
                    tensors.live.append(tensor)
                tensors.owners[number].append((index, local))
                numbers[local] = number
        for local, like, shape, problem in _computed(module, state, computing.get(index)):
            parameters[local] = number = len(tensors.rows)
            dtype, _ = dtype_name(like.dtype)
            tensors.rows.append(
                (
                    number,
                    f"{prefix}{local}",
                    shape,
                    dtype,
                    "parametrized",
                    like.requires_grad,
                    like.device.type,
                    problem,
                    False,
                    False,
                )
            )
            tensors.owners.append([(index, local)])
            tensors.live.append(None)
        transient = NOTHING if not buffers else frozenset(state["_non_persistent_buffers_set"]) & buffers.keys()
        tensors.by_module.append((parameters, buffers, frozenset(absent), transient))
    return tensors


# how transformers flags what it read from a checkpoint
LOADED = "_is_hf_initialized"


def _row(number: int, name: str, tensor: torch.Tensor, kind: str) -> tuple[Any, ...]:
    """Return the fields of a TensorInfo, but its owners."""
    lazy, sharded = tensor_class(type(tensor))
    dtype, problem = dtype_name(tensor.dtype)
    if lazy:
        problem = "lazy"
    elif problem is None and layout_name(tensor.layout) != "strided":
        problem = "sparse"
    shape = () if lazy else tuple(tensor.shape)
    loaded = tensor.__dict__.get(LOADED) is True
    return (number, name, shape, dtype, kind, tensor.requires_grad, tensor.device.type, problem, sharded, loaded)


# a computed tensor: its local name, one with its dtype and device, its shape, and why it can't be written to
Computed = tuple[str, "torch.Tensor", tuple[int, ...], "str | None"]


def _parametrizations(walk: _Walk) -> dict[int, list[str]]:
    """Return the local names of the tensors that `torch.nn.utils.parametrize` computes, by module."""
    computing = {}
    for index, children in enumerate(walk.children):
        if "parametrizations" in children:
            holder = walk.children[children["parametrizations"]]
            computing[index] = [name for name, child in holder.items() if is_parametrization(walk.modules[child])]
    return computing


def _computed(module: nn.Module, state: dict[str, Any], parametrized: list[str] | None) -> Iterator[Computed]:
    """Yield the tensors of a module that are computed from its parameters."""
    for local in parametrized or ():
        yield _parametrized(module, local)
    if state.get("_forward_pre_hooks"):
        for local, _ in hook_computed(state):  # the old `weight_norm` and `spectral_norm`, before each forward
            source = state["_parameters"].get(f"{local}_orig")  # of `spectral_norm`
            source = source if source is not None else state["_parameters"].get(f"{local}_v")  # of `weight_norm`
            yield local, source, tuple(source.shape), "computed-from-shards" if is_sharded(source) else None


def _parametrized(module: nn.Module, local: str) -> Computed:
    """Return the tensor that `torch.nn.utils.parametrize` computes; it is written through `right_inverse`."""
    import torch

    chain: Any = module.parametrizations[local]  # type: ignore[index]
    originals = [p for p in chain._parameters.values() if p is not None]
    problem = None
    for part in chain:
        if not hasattr(part, "right_inverse"):
            problem = f"no-right-inverse:{type(part).__name__}"
    if any(map(is_sharded, originals)):
        largest = max(originals, key=lambda p: p.numel())  # computing it would communicate
        return local, largest, tuple(largest.shape), "computed-from-shards"
    # the shape the parametrization gives, without moving its buffers (spectral norm's, in training) or any values
    training = {part: part.training for part in chain.modules()}
    try:
        chain.eval()
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            shape = tuple(chain().shape)
    except Exception:
        shape = tuple(originals[0].shape)
    finally:
        for part, mode in training.items():
            part.training = mode
    return local, originals[0], shape, problem
