"""Describing an `nn.Module`: its modules, classes, attributes, tensors and ties, as plain values.

No code of the model runs, as it may have side effects or fail: attributes are read from `__dict__`, so that neither
properties nor a `__getattr__` are asked.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol

from initdsl.text.diagnostic import Diagnostic, ResolveError

from .attributes import Attributes, class_values
from .cut import is_of_megatron, refuse_cut, refuse_partitioned
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
from .parts import NO_NUMBERS, ClassInfo, ModuleInfo, TensorInfo, label_within, step
from .wrappers import is_fsdp, may_wrap, opened

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["class_info", "describe", "refuse_torchscript"]


def describe(net: nn.Module) -> tuple[Network, Live]:
    """Return a model's description, and the objects behind it. Runs none of its code, changes nothing.

    Raises TypeError for anything but an `nn.Module`, ResolveError where FSDP holds its parameters in another form.
    """
    from torch import nn

    if not isinstance(net, nn.Module):
        raise TypeError(f"a model is an nn.Module, not {type(net).__name__}")
    with no_collection(False) as hold:
        found = _walked(net, hold)
        _name_all_holders(found)
        return Network(tuple(found.modules), tuple(found.tensors)), Live(found.live_modules, found.live_tensors)


# makes a NamedTuple of its fields in their order; a network has many, and their own constructors take twice as long
_new = tuple.__new__


# asks no code of a module
_state_of = object.__getattribute__


# the number of a module, and the name of a child or tensor in it
Place = tuple[int, str]


class _Open(NamedTuple):
    """A module whose children are being met: its number, what their names and labels begin with, and those still to come.

    `children` are those that were met, by name, with their numbers; `is_list` says that they go by positions.
    """

    number: int
    prefix: str
    label: str
    is_list: bool
    children: dict[str, int]
    rest: Iterator[tuple[str, nn.Module | None]]


@dataclass(frozen=True)
class _Found:
    """What is known of a model while its modules are walked: each module and tensor once, as it is first met.

    `live_modules` and `live_tensors` are the objects behind `modules` and `tensors`, None for a computed tensor;
    `module_numbers` and `tensor_numbers` their numbers by `id`, as all are alive meanwhile. `parents` and `owners` have,
    by number, the further places of what is met again. `of_class` and `of_kind` keep what is the same for many.
    """

    modules: list[ModuleInfo] = field(default_factory=list)
    live_modules: list[nn.Module] = field(default_factory=list)
    module_numbers: dict[int, int] = field(default_factory=dict)
    parents: dict[int, list[Place]] = field(default_factory=dict)
    tensors: list[TensorInfo] = field(default_factory=list)
    live_tensors: list[torch.Tensor | None] = field(default_factory=list)
    tensor_numbers: dict[int, int] = field(default_factory=dict)
    owners: dict[int, list[Place]] = field(default_factory=dict)
    of_class: dict[type, _OfClass] = field(default_factory=dict)
    of_kind: dict[Hashable, _OfKind] = field(default_factory=dict)


def _name_all_holders(found: _Found) -> None:
    """Give modules and tensors that were met again all their parents and owners."""
    for number, parents in found.parents.items():
        info = found.modules[number]
        found.modules[number] = info._replace(parents=(*info.parents, *parents))
    for number, owners in found.owners.items():
        tensor = found.tensors[number]
        found.tensors[number] = tensor._replace(owners=(*tensor.owners, *owners))


# ---- modules


def _walked(net: nn.Module, hold: Callable[[], None]) -> _Found:
    """Return the modules and tensors of a model in pre-order; `hold` is called where there are many."""
    found = _Found()
    numbers, of_class = found.module_numbers, found.of_class
    root = _module(found, opened(net), -1, "", "", "net")
    stack = [] if root is None else [root]  # networks may be deep
    while stack:
        parent, prefix, label, is_list, siblings, rest = stack[-1]
        for local, module in rest:
            if module is None:
                continue
            same = of_class.get(type(module))
            if same is None or same.may_wrap:
                module = opened(module)
            number = numbers.get(id(module))
            if number is not None:  # met before
                siblings[local] = number
                found.parents.setdefault(number, []).append((parent, local))
                continue
            siblings[local] = len(numbers)
            if len(numbers) == MANY:
                hold()
            within = f"{label}[{local}]" if is_list and local.isdigit() else label + step(local)
            below = _module(found, module, parent, local, prefix + local, within)
            if below is not None:
                stack.append(below)
                break
        else:
            stack.pop()
    return found


def _module(found: _Found, module: nn.Module, parent: int, local: str, name: str, label: str) -> _Open | None:
    """Add a module to what is found, as a value, and its tensors; return it with the children to meet, None without any."""
    number = found.module_numbers[id(module)] = len(found.modules)
    kind = type(module)
    same = found.of_class.get(kind)
    if same is None:
        same = found.of_class[kind] = _of_class(kind, name)
    cls, container, reset, class_values, megatron, _ = same
    state = _state_of(module, "__dict__")
    if megatron:
        refuse_cut(state, name or "net")
    parameters, buffers, absent, transient = NO_NUMBERS, NO_NUMBERS, NO_NAMES, NO_NAMES
    prefix = f"{name}." if name else ""
    if state["_parameters"]:
        parameters, absent = _tensors(found, number, prefix, label, container, "parameter", state["_parameters"])
    if state["_buffers"]:
        buffers, empty = _tensors(found, number, prefix, label, container, "buffer", state["_buffers"])
        absent = absent | empty if empty else absent
        transient = frozenset(state["_non_persistent_buffers_set"]) & buffers.keys()
    modules = state["_modules"]
    if state.get("_forward_pre_hooks") or "parametrizations" in modules:
        parameters = {**parameters, **_computed(found, number, prefix, label, container, module)}
    children: dict[str, int] = {}  # filled in as they are met
    parents = ((parent, local),) if parent >= 0 else NO_PLACES
    places = _places(state) if container == "list" else ()
    values = Attributes(state.copy())
    below = children if modules else NO_NUMBERS
    fields = (number, name, label, cls, container, below, parameters, buffers, absent, parents)
    found.live_modules.append(module)
    found.modules.append(_new(ModuleInfo, (*fields, reset, values, class_values, transient, places, None)))
    if not modules:
        return None
    return _Open(number, prefix, label, container == "list", children, iter(modules.items()))


NO_NAMES: frozenset[str] = frozenset()


NO_PLACES: tuple[Place, ...] = ()


class _OfClass(NamedTuple):
    """What is the same for all modules of a class: its name and bases, kind of container, reset method, attributes.

    `may_wrap`: such a module may stand for another one, see `opened`.
    """

    cls: ClassInfo
    container: str
    reset: str | None
    values: dict[str, Any]
    megatron: bool
    may_wrap: bool


def _of_class(cls: type, name: str) -> _OfClass:
    """Return what is the same for all modules of a class. Raises ResolveError for one of TorchScript, by its name."""
    if cls.__module__.startswith("torch.jit"):
        raise _torchscript(cls, name)
    info = class_info(cls)
    return _OfClass(info, _container(info), reset_method(cls), class_values(cls), is_of_megatron(cls), may_wrap(cls))


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


LISTS = frozenset(f"torch.nn.modules.container.{name}" for name in ("Sequential", "ModuleList", "ParameterList"))


DICTS = frozenset(f"torch.nn.modules.container.{name}" for name in ("ModuleDict", "ParameterDict"))


@lru_cache(maxsize=4096)
def _container(cls: ClassInfo) -> str:
    """Return "list" or "dict" for a class that derives from such a container of torch, "" for any other."""
    names = {cls.qualname, *(base.qualname for base in cls.bases)}
    return "list" if names & LISTS else "dict" if names & DICTS else ""


def _places(state: dict[str, Any]) -> tuple[str, ...]:
    """Return the names of all places of a list, where some hold no module (None) or no parameter (a plain value)."""
    children, parameters = state["_modules"], state["_parameters"]
    if children:
        return tuple(children) if None in children.values() else ()
    size = state.get("_size")  # of a ParameterList
    if not isinstance(size, int) or size == len(parameters):
        return ()
    return tuple(map(str, range(size)))


def _torchscript(cls: type, name: str) -> ResolveError:
    """Return the error that a module is TorchScript: its classes and modules are out of Python's sight."""
    what = f"`{name}` of this model" if name else "this model"
    message = f"{what} is TorchScript (`{cls.__name__}`), which has no layers to select"
    hint = "fill the model before it is scripted or traced, or fill one that is not and load its state dict"
    return ResolveError(Diagnostic("torchscript", message, hint=hint))


def refuse_torchscript(net: nn.Module) -> None:
    """Refuse a model with modules of TorchScript. Raises ResolveError."""
    for name, module in net.named_modules():
        cls: type = type(module)
        if cls.__module__.startswith("torch.jit"):
            raise _torchscript(cls, name)


# ---- tensors


# how transformers flags what it read from a checkpoint
LOADED = "_is_hf_initialized"


def _tensors(
    found: _Found,
    owner: int,
    prefix: str,
    label: str,
    container: str,
    kind: str,
    registry: Mapping[str, torch.Tensor | None],
) -> tuple[Mapping[str, int], frozenset[str]]:
    """Return the numbers of a module's parameters or buffers by name, and the names of those that are None."""
    tensors, of_kind, known = found.tensors, found.of_kind, found.tensor_numbers
    numbers: dict[str, int] = {}
    absent = NO_NAMES
    for name, tensor in registry.items():
        if tensor is None:
            absent = absent | {name} if absent else _alone(name)
            continue
        number = numbers[name] = known.setdefault(id(tensor), len(tensors))
        if number < len(tensors):  # met before
            found.owners.setdefault(number, []).append((owner, name))
            continue
        loaded = False
        if attributes := tensor.__dict__:  # most have none
            loaded = attributes.get(LOADED) is True
            if "ds_id" in attributes:
                refuse_partitioned(attributes, tensor.numel(), prefix + name)
        cls: type = type(tensor)
        size = () if tensor_class(cls)[0] else tensor.shape
        device = tensor.is_cpu or tensor.device
        key = (cls, size, kind, tensor.dtype, tensor.layout, device, tensor.requires_grad, loaded)
        same = of_kind.get(key)
        if same is None:
            same = of_kind[key] = _of_kind(tensor, tuple(size), kind, loaded)
        within = label + step(name) if container != "list" else label_within(label, container, name)
        tensors.append(_new(TensorInfo, (number, prefix + name, *same, ((owner, name),), within)))
        found.live_tensors.append(tensor)
    return numbers, absent


@lru_cache(maxsize=4096)
def _alone(name: str) -> frozenset[str]:
    return frozenset([name])


class _OfKind(NamedTuple):
    """What is the same for many tensors: the fields of a TensorInfo from its shape to `loaded`."""

    shape: tuple[int, ...]
    dtype: str
    kind: str
    requires_grad: bool
    device: str
    problem: str | None
    sharded: bool
    loaded: bool


def _of_kind(tensor: torch.Tensor, shape: tuple[int, ...], kind: str, loaded: bool) -> _OfKind:
    lazy, sharded = tensor_class(type(tensor))
    dtype, problem = dtype_name(tensor.dtype)
    if lazy:
        problem = "lazy"
    elif problem is None and layout_name(tensor.layout) != "strided":
        problem = "sparse"
    return _OfKind(shape, dtype, kind, tensor.requires_grad, tensor.device.type, problem, sharded, loaded)


# ---- tensors that are computed from parameters


def _computed(found: _Found, owner: int, prefix: str, label: str, container: str, module: nn.Module) -> dict[str, int]:
    """Return the numbers of the tensors of a module that are computed from its parameters, by name."""
    numbers: dict[str, int] = {}
    for name, like, shape, problem in _computations(module):
        number = numbers[name] = len(found.tensors)
        dtype, _ = dtype_name(like.dtype)
        same = _OfKind(shape, dtype, "parametrized", like.requires_grad, like.device.type, problem, False, False)
        within = label_within(label, container, name)
        found.live_tensors.append(None)
        found.tensors.append(TensorInfo._make((number, f"{prefix}{name}", *same, ((owner, name),), within)))
    return numbers


# a computed tensor: its local name, one with its dtype and device, its shape, and why it can't be written to
Computation = tuple[str, "torch.Tensor", tuple[int, ...], "str | None"]


def _computations(module: nn.Module) -> Iterator[Computation]:
    """Yield the tensors that `torch.nn.utils.parametrize` computes, and those that older hooks do."""
    state = object.__getattribute__(module, "__dict__")
    holder = state["_modules"].get("parametrizations")
    if holder is not None:
        for name, chain in object.__getattribute__(holder, "__dict__")["_modules"].items():
            if chain is not None and is_parametrization(chain):
                yield _parametrized(module, name)
    for name, _ in hook_computed(state):  # the old `weight_norm` and `spectral_norm`, before each forward
        source = state["_parameters"].get(f"{name}_orig")  # of `spectral_norm`
        source = source if source is not None else state["_parameters"].get(f"{name}_v")  # of `weight_norm`
        yield name, source, tuple(source.shape), "computed-from-shards" if is_sharded(source) else None


def _parametrized(module: nn.Module, local: str) -> Computation:
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
