"""A network as the resolver sees it: modules, classes, attributes, tensors and ties, as plain values.

`describe` reads it off an `nn.Module` (this is the only part that knows torch); `Network.from_manifest` reads it from
JSON, so that rules can be checked without anybody's code. Describing runs no code of the network: no properties, no
`__getattr__`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .description import (
    Attributes,
    ClassInfo,
    Live,
    ModuleInfo,
    Network,
    TensorInfo,
    class_values,
    label_within,
)
from .garbage import MANY, no_collection
from .kinds import dtype_name, hook_computed, is_sharded, layout_name, reset_method, tensor_class
from .wrappers import opened

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["class_info", "describe"]


_classes: dict[type, ClassInfo] = {}


def class_info(cls: type) -> ClassInfo:
    """What is known of a class; dynamic ones (`ParametrizedLinear`, `FSDPLinear`) count as the class they wrap."""
    info = _classes.get(cls)
    if info is not None:
        return info
    real = cls
    mro = cls.__mro__
    if cls.__module__ == "torch.nn.utils.parametrize" and cls.__name__.startswith("Parametrized") and len(mro) > 1:
        real = mro[1]
    elif len(mro) > 2 and mro[1].__name__ == "FSDPModule" and cls.__name__ == f"FSDP{mro[2].__name__}":
        real = mro[2]
    if real is not cls:
        info = class_info(real)
    else:
        qualname = f"{cls.__module__}.{cls.__qualname__}"
        aliases = []
        public = getattr(sys.modules.get("torch.nn"), cls.__name__, None)
        if public is cls:
            aliases.append(f"torch.nn.{cls.__name__}")
        bases = tuple(class_info(base) for base in mro[1:] if base is not object and "Generic" not in base.__name__)
        info = ClassInfo(cls.__name__, qualname, tuple(aliases), bases)
    _classes[cls] = info
    return info


def describe(net: nn.Module) -> tuple[Network, Live]:
    """A network's description, and the objects behind it. Runs none of its code, changes nothing.

    Raises TypeError for anything but an `nn.Module`, ResolveError where FSDP holds its parameters in another form.
    """
    from torch import nn

    if not isinstance(net, nn.Module):
        raise TypeError(f"a network is an nn.Module, not {type(net).__name__}")
    with no_collection(False) as hold:
        return _describe(net, hold)


def _describe(net: nn.Module, hold: Callable[[], None]) -> tuple[Network, Live]:
    found = _modules(net, hold)
    tensors = _tensors(found)
    modules = []
    for index, (path, label) in enumerate(zip(found.names, found.labels, strict=True)):
        (cls, container), (reset, values, inherited) = found.facts[index], found.rest[index]
        parameters, buffers, absent = tensors.by_module[index]
        children, parents = found.children[index], tuple(found.parents[index])
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
            )
        )
    return Network(tuple(modules), tensors.infos()), Live(found.modules, tensors.live)


@dataclass(frozen=True)
class _Found:
    """The modules of a network in pre-order, and by module what is known of it so far.

    `facts` are its class and what kind of container it is, `rest` its reset and its plain attributes.
    """

    modules: list[nn.Module] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    facts: list[tuple[ClassInfo, str]] = field(default_factory=list)
    rest: list[tuple[str | None, Attributes, dict[str, Any]]] = field(default_factory=list)
    children: list[dict[str, int]] = field(default_factory=list)
    parents: list[list[tuple[int, str]]] = field(default_factory=list)


def _modules(net: nn.Module, hold: Callable[[], None]) -> _Found:
    """Walk a network's modules, each once."""
    found = _Found()
    seen: dict[int, int] = {}
    classes: dict[type, tuple[ClassInfo, str, str | None, dict[str, Any]]] = {}
    # pre-order, with an explicit stack: (module, parent index, name in parent)
    stack: list[tuple[nn.Module, int, str]] = [(opened(net), -1, "")]
    while stack:
        module, parent, name = stack.pop()
        index = seen.setdefault(id(module), len(found.modules))
        if parent >= 0:
            found.children[parent][name] = index
        if index < len(found.modules):
            found.parents[index].append((parent, name))
            continue
        if index == MANY:
            hold()
        kind: type = type(module)
        known = classes.get(kind)
        if known is None:
            cls = class_info(kind)
            known = classes[kind] = (cls, _container(cls), reset_method(kind), class_values(kind))
        cls, container, reset, inherited = known
        inside = object.__getattribute__(module, "__dict__")
        found.modules.append(module)
        found.facts.append((cls, container))
        found.rest.append((reset, Attributes(inside.copy()), inherited))
        if parent >= 0:
            above = found.names[parent]
            found.names.append(f"{above}.{name}" if above else name)
            found.labels.append(label_within(found.labels[parent], found.facts[parent][1], name))
            found.parents.append([(parent, name)])
        else:
            found.names.append("")
            found.labels.append("net")
            found.parents.append([])
        children = inside["_modules"]
        # in the order of registration, whatever order they are met in
        found.children.append({key: -1 for key, child in children.items() if child is not None})
        if children:
            below = [(opened(child), index, key) for key, child in children.items() if child is not None]
            stack.extend(reversed(below))
    return found


_containers: dict[ClassInfo, str] = {}


def _container(cls: ClassInfo) -> str:
    found = _containers.get(cls)
    if found is None:
        names = {cls.qualname, *(base.qualname for base in cls.bases)}
        if names & {f"torch.nn.modules.container.{n}" for n in ("Sequential", "ModuleList", "ParameterList")}:
            found = "list"
        elif names & {f"torch.nn.modules.container.{n}" for n in ("ModuleDict", "ParameterDict")}:
            found = "dict"
        else:
            found = ""
        _containers[cls] = found
    return found


# by module: its parameters and buffers by local name, and names held as None
Held = tuple[dict[str, int], dict[str, int], frozenset[str]]


@dataclass(frozen=True)
class _Tensors:
    """The tensors of a network, each once: the fields of a TensorInfo but its owners, then those.

    `live` has the objects, None for what is computed; `by_module` what each module holds.
    """

    rows: list[tuple[Any, ...]] = field(default_factory=list)
    owners: list[list[tuple[int, str]]] = field(default_factory=list)
    live: list[torch.Tensor | None] = field(default_factory=list)
    by_module: list[Held] = field(default_factory=list)

    def infos(self) -> tuple[TensorInfo, ...]:
        """Return them as values."""
        return tuple(
            [TensorInfo._make((*row, tuple(owners))) for row, owners in zip(self.rows, self.owners, strict=True)]
        )


def _tensors(found: _Found) -> _Tensors:
    """Collect the tensors of a network's modules, under all their names."""
    tensors = _Tensors()
    seen: dict[int, int] = {}
    computing = _parametrizations(found)
    for index, module in enumerate(found.modules):
        inside = object.__getattribute__(module, "__dict__")
        base = f"{name}." if (name := found.names[index]) else ""
        parameters: dict[str, int] = {}
        buffers: dict[str, int] = {}
        absent = []
        for held, kind, tensor_of in (("_parameters", "parameter", parameters), ("_buffers", "buffer", buffers)):
            for local, tensor in inside[held].items():
                if tensor is None:
                    absent.append(local)
                    continue
                number = seen.get(id(tensor))
                if number is None:
                    number = seen[id(tensor)] = len(tensors.rows)
                    tensors.rows.append(_row(number, f"{base}{local}", tensor, kind))
                    tensors.owners.append([])
                    tensors.live.append(tensor)
                tensors.owners[number].append((index, local))
                tensor_of[local] = number
        for local, like, shape, problem in _computed(module, inside, computing.get(index)):
            parameters[local] = number = len(tensors.rows)
            dtype, _ = dtype_name(like.dtype)
            tensors.rows.append(
                (
                    number,
                    f"{base}{local}",
                    shape,
                    dtype,
                    "parametrized",
                    like.requires_grad,
                    like.device.type,
                    problem,
                    False,
                )
            )
            tensors.owners.append([(index, local)])
            tensors.live.append(None)
        tensors.by_module.append((parameters, buffers, frozenset(absent)))
    return tensors


def _row(number: int, name: str, tensor: torch.Tensor, kind: str) -> tuple[Any, ...]:
    """Return the fields of a TensorInfo, but its owners."""
    lazy, sharded = tensor_class(type(tensor))
    dtype, problem = dtype_name(tensor.dtype)
    if lazy:
        problem = "lazy"
    elif problem is None and layout_name(tensor.layout) != "strided":
        problem = "sparse"
    shape = () if lazy else tuple(tensor.shape)
    return (number, name, shape, dtype, kind, tensor.requires_grad, tensor.device.type, problem, sharded)


# a tensor that is computed: its local name, what it is like, its shape, and why it can't be written to
Computed = tuple[str, "torch.Tensor", tuple[int, ...], "str | None"]


def _parametrizations(found: _Found) -> dict[int, list[str]]:
    """Return the local names of the tensors that `torch.nn.utils.parametrize` computes, by module."""
    computing = {}
    for index, children in enumerate(found.children):
        if "parametrizations" in children:
            holder = children["parametrizations"]
            if found.facts[holder][0].name == "ModuleDict":
                computing[index] = list(found.children[holder])
    return computing


def _computed(module: nn.Module, inside: dict[str, Any], parametrized: list[str] | None) -> Iterator[Computed]:
    """Yield the tensors of a module that are computed from its parameters."""
    for local in parametrized or ():
        yield _parametrized(module, local)
    if inside.get("_forward_pre_hooks"):
        for local, _ in hook_computed(inside):  # the old `weight_norm` and `spectral_norm`, before each forward
            source = inside["_parameters"].get(f"{local}_orig")
            source = source if source is not None else inside["_parameters"].get(f"{local}_v")
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
