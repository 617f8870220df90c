"""A network as a value: its modules, classes and tensors, and their ties."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from initdsl.text.wording import quoted

from . import manifest as manifests

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["MISSING", "ClassInfo", "Live", "ModuleInfo", "Network", "TensorInfo", "child_label", "describe_tensor"]


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
        module = above = self.modules[index]
        for _ in self.modules:  # so many steps at most: in a manifest modules may hold each other
            if not above.index or not above.parents:
                return [module.name]  # one way leads here from the root
            if len(above.parents) > 1:
                break
            above = self.modules[above.parents[0][0]]
        else:
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

    def on_device(self, device: str) -> Network:
        """Return the same network with its tensors on another type of device; this one stays as it is."""
        return Network(self.modules, [replace(tensor, device=device) for tensor in self.tensors])

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


def describe_tensor(tensor: TensorInfo) -> str:
    return f"`{tensor.name}` {list(tensor.shape)}"
