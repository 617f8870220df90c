"""A network as the resolver sees it: modules, classes, attributes, tensors and ties, as plain values.

`describe` reads it off an `nn.Module` (this is the only part that knows torch); `Network.from_manifest` reads it from
JSON, so that rules can be checked without anybody's code. Describing runs no code of the network: no properties, no
`__getattr__`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .description import ClassInfo, Live, ModuleInfo, Network, TensorInfo, child_label
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
    modules: list[ModuleInfo] = []
    live = Live([], [])
    seen: dict[int, int] = {}
    of_class: dict[type, tuple[ClassInfo, str, str | None]] = {}
    # pre-order, with an explicit stack: (module, parent index, name in parent)
    stack: list[tuple[nn.Module, int, str]] = [(opened(net), -1, "")]
    while stack:
        module, parent, name = stack.pop()
        known = seen.get(id(module))
        if known is not None:
            modules[parent].children[name] = known
            modules[known].parents.append((parent, name))
            continue
        index = seen[id(module)] = len(modules)
        if index == MANY:
            hold()
        kind: type = type(module)
        known_class = of_class.get(kind)
        if known_class is None:
            cls = class_info(kind)
            known_class = of_class[kind] = (cls, _container(cls), reset_method(kind))
        label, path, parents = "net", "", []
        if parent >= 0:
            above = modules[parent]
            above.children[name] = index
            label, path = child_label(above, name), f"{above.name}.{name}" if above.name else name
            parents = [(parent, name)]
        cls, container, reset = known_class
        info = ModuleInfo(index, path, label, cls, container, {}, {}, {}, frozenset(), parents, reset, module)
        modules.append(info)
        live.modules.append(module)
        children = object.__getattribute__(module, "__dict__")["_modules"]
        if children:
            found = [(opened(child), index, key) for key, child in children.items() if child is not None]
            stack.extend(reversed(found))
    tensors = _Tensors(modules, live)
    for info, module in zip(modules, live.modules, strict=True):
        if len(info.children) > 1:  # met in the order of the stack: give them the order of registration
            registered = object.__getattribute__(module, "__dict__")["_modules"]
            info.children = {key: info.children[key] for key in registered if key in info.children}
    for info, module in zip(modules, live.modules, strict=True):
        tensors.add(info, module)
    return Network(modules, tensors.tensors), live


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


class _Tensors:
    """Collects tensors, each once, under all its names."""

    def __init__(self, modules: list[ModuleInfo], live: Live):
        self.modules = modules
        self.live = live
        self.tensors: list[TensorInfo] = []
        self.seen: dict[int, int] = {}
        self.skipped = {
            index
            for info in modules
            if "parametrizations" in info.children
            for index in [info.children["parametrizations"]]
            if modules[index].cls.name == "ModuleDict"
        }

    def add(self, info: ModuleInfo, module: nn.Module) -> None:
        inside = object.__getattribute__(module, "__dict__")
        absent = []
        for local, tensor in inside["_parameters"].items():
            if tensor is None:
                absent.append(local)
            else:
                info.parameters[local] = self.index(info, local, tensor, "parameter")
        for local, tensor in inside["_buffers"].items():
            if tensor is None:
                absent.append(local)
            else:
                info.buffers[local] = self.index(info, local, tensor, "buffer")
        parametrizations = info.children.get("parametrizations") if self.skipped else None
        if parametrizations in self.skipped:
            for local in self.modules[parametrizations or 0].children:
                info.parameters[local] = self.parametrized(info, local, module)
        if inside.get("_forward_pre_hooks"):
            for local, hook in hook_computed(inside):
                info.parameters[local] = self.hooked(info, local, module, hook)
        if absent:
            info.absent = frozenset(absent)

    def index(self, info: ModuleInfo, local: str, tensor: torch.Tensor, kind: str) -> int:
        known = self.seen.get(id(tensor))
        if known is not None:
            self.tensors[known].owners.append((info.index, local))
            return known
        index = self.seen[id(tensor)] = len(self.tensors)
        name = f"{info.name}.{local}" if info.name else local
        lazy, sharded = tensor_class(type(tensor))
        dtype, problem = dtype_name(tensor.dtype)
        if lazy:
            problem = "lazy"
        elif problem is None and layout_name(tensor.layout) != "strided":
            problem = "sparse"
        self.tensors.append(
            TensorInfo(
                index, name, () if lazy else tuple(tensor.shape), dtype, kind, tensor.requires_grad,
                tensor.device.type, problem, sharded, "", [(info.index, local)],
            )
        )  # fmt: skip
        self.live.tensors.append(tensor)
        return index

    def parametrized(self, info: ModuleInfo, local: str, module: nn.Module) -> int:
        """The tensor that `torch.nn.utils.parametrize` computes: written through `right_inverse`."""
        import torch

        chain = module.parametrizations[local]  # type: ignore[index]
        originals = [p for key, p in chain._parameters.items() if p is not None]  # type: ignore[union-attr]
        problem = None
        for part in chain:
            if not hasattr(part, "right_inverse"):
                problem = f"no-right-inverse:{type(part).__name__}"
        if any(map(is_sharded, originals)):
            largest = max(originals, key=lambda p: p.numel())  # computing it would communicate
            return self.virtual(info, local, tuple(largest.shape), largest, "computed-from-shards")
        # the shape the parametrization gives, without moving its buffers (spectral norm's, in training) or any values
        training = {m: m.training for m in chain.modules()}  # type: ignore[union-attr]
        try:
            chain.eval()  # type: ignore[union-attr]
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                shape = tuple(chain().shape)  # type: ignore[operator]
        except Exception:
            shape = tuple(originals[0].shape)
        finally:
            for part, mode in training.items():
                part.training = mode
        return self.virtual(info, local, shape, originals[0], problem)

    def hooked(self, info: ModuleInfo, local: str, module: nn.Module, hook: Any) -> int:
        """The tensor that the hooks of the old `weight_norm` and `spectral_norm` compute before each forward."""
        inside = object.__getattribute__(module, "__dict__")
        source = inside["_parameters"].get(f"{local}_orig")
        source = source if source is not None else inside["_parameters"].get(f"{local}_v")
        problem = "computed-from-shards" if is_sharded(source) else None
        return self.virtual(info, local, tuple(source.shape), source, problem)

    def virtual(
        self, info: ModuleInfo, local: str, shape: tuple[int, ...], like: torch.Tensor, problem: str | None
    ) -> int:  # fmt: skip
        index = len(self.tensors)
        name = f"{info.name}.{local}" if info.name else local
        dtype, _ = dtype_name(like.dtype)
        self.tensors.append(
            TensorInfo(
                index,
                name,
                shape,
                dtype,
                "parametrized",
                like.requires_grad,
                like.device.type,
                problem,
                owners=[(info.index, local)],
            )
        )
        self.live.tensors.append(None)
        return index
