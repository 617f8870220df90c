"""A network as the resolver sees it: modules, classes, attributes, tensors and ties, as plain values.

`describe` reads it off an `nn.Module` (this is the only part that knows torch); `Network.from_manifest` reads it from
JSON, so that rules can be checked without anybody's code. Describing runs no code of the network: no properties, no
`__getattr__`.
"""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

from initdsl.language.syntax.nodes import quoted
from initdsl.text.diagnostic import Diagnostic, ResolveError

from . import manifest as manifests

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = [
    "MANY",
    "MISSING",
    "ClassInfo",
    "Live",
    "ModuleInfo",
    "Network",
    "TensorInfo",
    "child_label",
    "class_info",
    "describe",
    "is_sharded",
    "no_collection",
    "unwrap",
]


# how far the names of one shared module are looked for
STEPS = 10_000


class _Missing:
    def __repr__(self) -> str:
        return "MISSING"


MISSING: Any = _Missing()


@dataclass(frozen=True, slots=True, eq=False)
class ClassInfo:
    """A class by name; one value a class, compared by identity: `qualname` with its module, `aliases` further public names, `bases` the classes it derives from."""

    name: str
    qualname: str
    aliases: tuple[str, ...] = ()
    bases: tuple[ClassInfo, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return (self.qualname, *self.aliases)


@dataclass(slots=True)
class ModuleInfo:
    """One module. `children`, `parameters` and `buffers` map local names to indices; `absent` are names held as None."""

    index: int
    name: str
    label: str
    cls: ClassInfo
    container: str  # "list", "dict" or ""
    children: dict[str, int] = field(default_factory=dict)
    parameters: dict[str, int] = field(default_factory=dict)
    buffers: dict[str, int] = field(default_factory=dict)
    absent: frozenset[str] = frozenset()
    parents: list[tuple[int, str]] = field(default_factory=list)
    reset: str | None = None
    values: Any = None  # attributes: a mapping, or the module they are read from

    def attribute(self, name: str) -> Any:
        """A plain attribute: number, string, none, or a tuple of those; MISSING for anything else."""
        if isinstance(self.values, dict):
            return self.values.get(name, MISSING)
        return _plain_attribute(self.values, name)

    def attributes(self) -> dict[str, Any]:
        """Every plain attribute of the instance."""
        if isinstance(self.values, dict):
            return self.values
        if self.values is None:
            return {}
        found = {key: _plain(value) for key, value in object.__getattribute__(self.values, "__dict__").items()}
        return {k: v for k, v in found.items() if v is not MISSING and not k.startswith("_") and k != "training"}

    def inherited(self) -> dict[str, Any]:
        """Every plain attribute of the class, those of `nn.Module` itself left out."""
        found: dict[str, Any] = {}
        for cls in reversed(type(self.values).__mro__ if self.values is not None else ()):
            if cls.__module__ not in ("builtins", "torch.nn.modules.module"):
                found.update({key: _plain(value) for key, value in cls.__dict__.items()})
        return {k: v for k, v in found.items() if v is not MISSING and not k.startswith("_")}


@dataclass(slots=True)
class TensorInfo:
    """One parameter or buffer, whatever number of names it has.

    `owners` are `(module index, local name)` pairs, `problem` says why it can't be written to, if it can't.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    dtype: str
    kind: str = "parameter"  # "parameter", "buffer" or "parametrized"
    requires_grad: bool = True
    device: str = "cpu"
    problem: str | None = None
    sharded: bool = False
    part: str = ""  # of a sharded one, what this rank holds, as one indexes it
    owners: list[tuple[int, str]] = field(default_factory=list)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def numel(self) -> int:
        count = 1
        for size in self.shape:
            count *= size
        return count

    @property
    def floating(self) -> bool:
        return "float" in self.dtype


@dataclass
class Network:
    """Modules in the order of `named_modules()`, tensors in the order of `named_parameters()`; module 0 is the root."""

    modules: list[ModuleInfo]
    tensors: list[TensorInfo]

    @cached_property
    def by_class(self) -> dict[ClassInfo, list[int]]:
        found: dict[ClassInfo, list[int]] = {}
        for module in self.modules:
            found.setdefault(module.cls, []).append(module.index)
        return found

    @cached_property
    def apply_order(self) -> list[int]:
        """Modules as `net.apply` visits them: children first, each once."""
        order: list[int] = []
        seen = {0} if self.modules else set()
        stack: list[tuple[int, Iterator[int]]] = [(0, iter(self.modules[0].children.values()))] if self.modules else []
        while stack:
            index, rest = stack[-1]
            for child in rest:
                if child not in seen:
                    seen.add(child)
                    stack.append((child, iter(self.modules[child].children.values())))
                    break
            else:
                order.append(index)
                stack.pop()
        return order

    def reachable(self, *starts: int) -> list[int]:
        """Modules and everything below them, in pre-order, each once."""
        order: list[int] = []
        seen: set[int] = set()
        modules = self.modules
        for start in starts:
            stack = [start] if start not in seen else []
            seen.add(start)
            while stack:
                index = stack.pop()
                order.append(index)
                children = [c for c in modules[index].children.values() if c not in seen]
                seen.update(children)
                stack.extend(reversed(children))
        return order

    def originals(self, tensor: TensorInfo) -> list[int]:
        """The parameters that a computed tensor is computed from, by a parametrization or by an older hook."""
        owner, local = tensor.owners[0]
        module = self.modules[owner]
        if "parametrizations" in module.children:
            chain = self.modules[self.modules[module.children["parametrizations"]].children[local]]
            return list(chain.parameters.values())
        names = (f"{local}_orig", f"{local}_g", f"{local}_v")
        return [module.parameters[name] for name in names if name in module.parameters]

    def names(self, tensor: TensorInfo, most: int = 16) -> list[str]:
        """Every dotted name of a tensor, the canonical one first; at most `most`."""
        names = [tensor.name]
        for owner, local in tensor.owners:
            for path in self._paths(owner, most):
                name = f"{path}.{local}" if path else local
                if name not in names:
                    names.append(name)
        return names[:most]

    def module_names(self, index: int, most: int = 16) -> list[str]:
        return self._paths(index, most)

    def _paths(self, index: int, most: int) -> list[str]:
        module = self.modules[index]
        if all(len(self.modules[i].parents) <= 1 for i in self.ancestors(index)):
            return [module.name]
        paths: list[str] = []
        stack: list[tuple[int, str, frozenset[int]]] = [(index, "", frozenset())]
        for _ in range(STEPS):  # ways round circles that lead nowhere are without number
            if not stack or len(paths) >= most:
                break
            current, suffix, seen = stack.pop()
            if current == 0:
                paths.append(suffix)
                continue
            for parent, name in reversed(self.modules[current].parents):
                if parent not in seen:
                    stack.append((parent, f"{name}.{suffix}" if suffix else name, seen | {current}))
        return paths or [module.name]

    def ancestors(self, index: int) -> Iterator[int]:
        """A module and every module it lies in, each once."""
        seen, stack = set(), [index]
        while stack:
            current = stack.pop()
            if current in seen:
                continue
            seen.add(current)
            yield current
            stack.extend(parent for parent, _ in self.modules[current].parents)

    def label(self, tensor: TensorInfo) -> str:
        """The tensor as a rule file writes it: `net[0].weight`."""
        owner, local = tensor.owners[0]
        return child_label(self.modules[owner], local)

    def fingerprint(self) -> str:
        """A hash of names, classes, shapes, dtypes and ties."""
        import hashlib
        import json

        parts = [[t.name, t.shape, t.dtype, t.kind, self.names(t)] for t in self.tensors]
        parts += [[m.name, m.cls.qualname] for m in self.modules]
        return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()

    def to_manifest(self) -> dict[str, Any]:
        """The network as JSON-ready values, versioned."""
        classes: dict[str, Any] = {}

        def add(cls: ClassInfo) -> str:
            if cls.qualname not in classes:
                classes[cls.qualname] = {}
                classes[cls.qualname] = {
                    "name": cls.name, "aliases": list(cls.aliases), "bases": [add(base) for base in cls.bases]
                }  # fmt: skip
            return cls.qualname

        modules = [
            {
                "name": m.name, "label": m.label, "class": add(m.cls), "container": m.container, "children": m.children,
                "parameters": m.parameters, "buffers": m.buffers, "absent": sorted(m.absent), "reset": m.reset,
                "attributes": _jsonable({**m.inherited(), **m.attributes()}),
            }
            for m in self.modules
        ]  # fmt: skip
        tensors = [
            {
                "name": t.name, "shape": list(t.shape), "dtype": t.dtype, "kind": t.kind,
                "requires_grad": t.requires_grad, "names": self.names(t), "problem": t.problem,
            }
            for t in self.tensors
        ]  # fmt: skip
        return {
            "format": manifests.FORMAT, "version": manifests.VERSION, "fingerprint": self.fingerprint(),
            "modules": modules, "tensors": tensors, "classes": classes,
        }  # fmt: skip

    @classmethod
    def from_manifest(cls, manifest: Mapping[str, Any]) -> Network:
        """The network a manifest describes. Raises ValueError where it is none, or of a newer version."""
        try:
            return _from_manifest(manifests.checked(manifest))
        except RecursionError:
            raise manifests.damaged("it is nested too deeply") from None


def _from_manifest(manifest: manifests.Manifest) -> Network:
    infos: dict[str, ClassInfo] = {}

    def build(qualname: str) -> ClassInfo:
        if qualname not in infos:
            raw = manifest.classes[qualname]
            infos[qualname] = ClassInfo(raw.name, qualname, tuple(raw.aliases), tuple(map(build, raw.bases)))
        return infos[qualname]

    tensors = [
        TensorInfo(i, raw.name, tuple(raw.shape), raw.dtype, raw.kind, raw.requires_grad, "manifest", raw.problem)
        for i, raw in enumerate(manifest.tensors)
    ]
    modules = []
    for i, raw in enumerate(manifest.modules):
        plain = {k: _plain(v) for k, v in raw.attributes.items()}
        values = {k: v for k, v in plain.items() if v is not MISSING}
        module = ModuleInfo(
            i, raw.name, raw.label, build(raw.cls), raw.container, raw.children, raw.parameters, raw.buffers,
            frozenset(raw.absent), [], raw.reset, values,
        )  # fmt: skip
        modules.append(module)
        for local, t in (*module.parameters.items(), *module.buffers.items()):
            tensors[t].owners.append((i, local))
    for module in modules:
        for name, child in module.children.items():
            modules[child].parents.append((module.index, name))
    return Network(modules, tensors)


def _jsonable(values: dict[str, Any]) -> dict[str, Any]:
    return {
        k: v for k, v in values.items() if not (isinstance(v, float) and (v != v or v in (float("inf"), -float("inf"))))
    }


def child_label(module: ModuleInfo, name: str) -> str:
    """A child or tensor of a module as a rule file writes it."""
    if module.container == "list" and name.isdigit():
        return f"{module.label}[{name}]"
    if name.isidentifier() or name.isdigit():
        return f"{module.label}.{name}"
    return f"{module.label}[{quoted(name)}]"


# ---- plain attributes

_PLAIN = (int, float, str, type(None))


def _plain(value: Any) -> Any:
    kind = type(value)
    if kind in (bool, int, float, str, type(None)):
        return value
    if isinstance(value, tuple | list):
        if len(value) > 64:
            return MISSING
        items = tuple(_plain(item) for item in value)
        return MISSING if any(item is MISSING for item in items) else items
    if isinstance(value, bool | int | float | str) and not isinstance(value, type):
        for plain in (bool, int, float, str):
            if isinstance(value, plain):
                return plain.__call__(value) if plain is not str else str.__str__(value)
    return MISSING


def _plain_attribute(module: Any, name: str) -> Any:
    if module is None:
        return MISSING
    value = object.__getattribute__(module, "__dict__").get(name, MISSING)
    if value is not MISSING:
        return _plain(value)
    for cls in type(module).__mro__:
        if name in cls.__dict__:
            return _plain(cls.__dict__[name])
    return MISSING


# ---- from an nn.Module


@dataclass
class Live:
    """The objects behind a described network, by index. Parametrized tensors have no object of their own."""

    modules: list[nn.Module]
    tensors: list[torch.Tensor | None]


WRAPPED = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")


PARALLEL = ("DistributedDataParallel", "DataParallel")


def unwrap(module: nn.Module) -> nn.Module:
    """The module inside `torch.compile`, DDP, FSDP and activation-checkpoint wrappers."""
    for _ in range(32):
        inner = _inside(module)
        if inner is None:
            return module
        module = inner
    return module


def _inside(module: nn.Module) -> nn.Module | None:
    """What a wrapper wraps."""
    children = object.__getattribute__(module, "__dict__").get("_modules", {})
    if len(children) != 1:
        return None
    ((name, child),) = children.items()
    parallel = name == "module" and any(c.__name__ in PARALLEL for c in type(module).__mro__)
    return child if name in WRAPPED or parallel else None


@lru_cache(maxsize=1024)
def _is_fsdp(cls: type) -> bool:
    return any(base.__name__ == "FSDPModule" for base in cls.__mro__[:4])


def _opened(module: nn.Module) -> nn.Module:
    """As `unwrap`; raises ResolveError where FSDP holds the parameters in another form than the module does."""
    for _ in range(32):
        inner = _inside(module)
        if inner is None:
            break
        handle = object.__getattribute__(module, "__dict__").get("_handle")
        flat = getattr(handle, "flat_param", None)  # FSDP1's
        for info, shape in zip(getattr(flat, "_param_infos", ()), getattr(flat, "_shapes", ()), strict=False):
            parameter = info.module._parameters.get(info.param_name)
            if parameter is None or parameter.shape != shape:
                raise ResolveError(
                    Diagnostic(
                        "flat-parameters", "FSDP1 keeps the parameters of this network in flat vectors, which no rule can name",
                        hint="apply the rules before wrapping, within `FullyShardedDataParallel.summon_full_params(net)`, or shard with `fully_shard`",
                    )
                )  # fmt: skip
        module = inner
    cls: Any = type(module)
    if _is_fsdp(cls):
        state = module._get_fsdp_state()  # type: ignore[operator]
        if not all(getattr(group, "is_sharded", True) for group in getattr(state, "_fsdp_param_groups", ())):
            raise ResolveError(
                Diagnostic(
                    "gathered-parameters", "parameters of this network are gathered for computing, and what is written to them is lost",
                    hint="call `reshard()` of its FSDP modules first",
                )
            )  # fmt: skip
    return module


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


# from this many modules on, the garbage collector is held: it would look at all the lasting values again and again
MANY = 4096


class _Collection:
    """How many blocks, of all threads, hold the garbage collector, and whether it ran before the first of them."""

    lock = threading.Lock()
    holds = 0
    ran = False


@contextmanager
def no_collection(wanted: bool = True) -> Iterator[Callable[[], None]]:
    """With `wanted`, or once what is yielded is called, hold the garbage collector until the block's end.

    The last block to end, in whatever thread, puts it back as the first one found it.
    """
    held = False

    def hold() -> None:
        nonlocal held
        with _Collection.lock:
            if not held:
                if not _Collection.holds:
                    _Collection.ran = gc.isenabled()
                    gc.disable()
                _Collection.holds += 1
                held = True

    try:
        if wanted:
            hold()
        yield hold
    finally:
        with _Collection.lock:
            if held:
                _Collection.holds -= 1
                if not _Collection.holds and _Collection.ran:
                    gc.enable()


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
    stack: list[tuple[nn.Module, int, str]] = [(_opened(net), -1, "")]
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
            known_class = of_class[kind] = (cls, _container(cls), _reset(kind))
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
            found = [(_opened(child), index, key) for key, child in children.items() if child is not None]
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


def _reset(cls: type) -> str | None:
    for name in ("reset_parameters", "_reset_parameters"):
        if callable(getattr(cls, name, None)):
            return name
    return None


@lru_cache(maxsize=256)
def _dtype(dtype: torch.dtype) -> tuple[str, str | None]:
    """A dtype's name, and why a tensor of it can't be filled, if it can't."""
    name = str(dtype).removeprefix("torch.")
    return name, "quantized" if "qint" in name else "complex" if name.startswith("complex") else None


@lru_cache(maxsize=16)
def _layout_name(layout: Any) -> str:
    return str(layout).removeprefix("torch.")


@lru_cache(maxsize=256)
def _tensor_class(cls: type) -> tuple[bool, bool]:
    """Whether tensors of a class have no shape yet, and whether they are shards."""
    return "Uninitialized" in cls.__name__, hasattr(cls, "placements") and hasattr(cls, "device_mesh")


def is_sharded(tensor: Any) -> bool:
    """Whether a tensor is one rank's view of a tensor spread over a device mesh (a DTensor)."""
    cls: Any = type(tensor)
    return _tensor_class(cls)[1]


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
            for local, hook in _hooked(inside):
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
        lazy, sharded = _tensor_class(type(tensor))
        dtype, problem = _dtype(tensor.dtype)
        if lazy:
            problem = "lazy"
        elif problem is None and _layout_name(tensor.layout) != "strided":
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
        dtype, _ = _dtype(like.dtype)
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


def _hooked(inside: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for hook in inside.get("_forward_pre_hooks", {}).values():
        kind = type(hook)
        computes = kind.__module__ in ("torch.nn.utils.weight_norm", "torch.nn.utils.spectral_norm")
        if computes and hasattr(hook, "name") and hook.name not in inside["_parameters"]:
            yield hook.name, hook
