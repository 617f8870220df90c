"""A network as a value: its modules, classes and tensors, and their ties."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from initdsl.text.frozen import FrozenDict
from initdsl.text.wording import quoted

from . import manifest as manifests

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = [
    "MISSING",
    "Attributes",
    "ClassInfo",
    "Live",
    "ModuleInfo",
    "Network",
    "TensorInfo",
    "child_label",
    "class_values",
    "describe_tensor",
    "label_within",
]


# how far the names of one shared module are looked for
STEPS = 10_000


EMPTY: Mapping[str, Any] = FrozenDict()


class _Missing:
    def __repr__(self) -> str:
        return "MISSING"

    def __reduce__(self) -> str:
        return "MISSING"  # there is one, also in copies


MISSING: Any = _Missing()


@dataclass(frozen=True, slots=True, eq=False)
class ClassInfo:
    """A class by name: `qualname` with its module, `aliases` further public names, `bases` all the classes it derives from."""

    name: str
    qualname: str
    aliases: tuple[str, ...] = ()
    bases: tuple[ClassInfo, ...] = ()

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, ClassInfo) and self._key() == other._key())

    def __hash__(self) -> int:
        return hash(self.qualname)

    def _key(self) -> tuple[object, ...]:
        """Return what a class is compared by; its bases hold one another, so they are compared by their names."""
        return (self.name, self.qualname, self.aliases, [base.names for base in self.bases])

    @property
    def names(self) -> tuple[str, ...]:
        return (self.qualname, *self.aliases)


# ---- plain attributes


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


class Attributes(Mapping[str, Any]):
    """The plain attributes of a module as they are now: `{"in_features": 4, "out_features": 8}`.

    Most are never asked for, so each is looked at when it is: until then this holds what the module's `__dict__` held. It
    compares, copies and pickles as the plain values.
    """

    __slots__ = ("_held",)

    def __init__(self, held: Mapping[str, Any]):
        self._held = held

    def __getitem__(self, name: str) -> Any:
        value = _plain(self._held[name])
        if value is MISSING:
            raise KeyError(name)
        return value

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in self._held and _plain(self._held[name]) is not MISSING

    def __iter__(self) -> Iterator[str]:
        return iter([name for name in self._held if name in self])

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def hides(self, name: str) -> bool:
        """Tell whether the instance has an attribute of this name, plain or not."""
        return name in self._held

    def __reduce__(self) -> tuple[type[Attributes], tuple[dict[str, Any]]]:
        hidden = {name: MISSING for name in self._held if name not in self and name[:1] != "_"}
        return Attributes, ({**hidden, **self},)

    def __repr__(self) -> str:
        return repr(dict(self))


NO_ATTRIBUTES = Attributes({})


class ModuleInfo(NamedTuple):
    """A module: `ModuleInfo(1, "layers", "net.layers", cls, "list", children={"0": 2})`.

    `children`, `parameters` and `buffers` map local names to indices in the network, `absent` are names held as None.
    `container` is "list", "dict" or "". `parents` are `(module, name in it)`. `reset` names its own way to initialize its
    parameters. `values` are the plain attributes of the instance, `class_values` those of its class.
    """

    index: int  # type: ignore[assignment]  # not tuple.index
    name: str
    label: str
    cls: ClassInfo
    container: str
    children: Mapping[str, int] = EMPTY
    parameters: Mapping[str, int] = EMPTY
    buffers: Mapping[str, int] = EMPTY
    absent: frozenset[str] = frozenset()
    parents: tuple[tuple[int, str], ...] = ()
    reset: str | None = None
    values: Attributes = NO_ATTRIBUTES
    class_values: Mapping[str, Any] = EMPTY

    def attribute(self, name: str) -> Any:
        """A plain attribute: number, string, none, or a tuple of those; MISSING for anything else."""
        value = self.values.get(name, MISSING)
        return self.class_values.get(name, MISSING) if value is MISSING and not self.values.hides(name) else value

    def attributes(self) -> dict[str, Any]:
        """Every plain attribute of the instance."""
        return {k: v for k, v in self.values.items() if k[:1] != "_" and k != "training"}

    def inherited(self) -> dict[str, Any]:
        """Every plain attribute of the class, those of `nn.Module` itself left out."""
        return {name: value for name, value in self.class_values.items() if not name.startswith("_")}


class TensorInfo(NamedTuple):
    """A parameter or buffer, whatever number of names it has: `TensorInfo(0, "0.weight", (8, 4), "float32")`.

    `owners` are `(module, local name)`, modules by their index; `problem` says why it can't be written to, if it can't.
    `device` is a type of device, "manifest" where there is no network.
    """

    index: int  # type: ignore[assignment]  # not tuple.index
    name: str
    shape: tuple[int, ...]
    dtype: str
    kind: Literal["parameter", "buffer", "parametrized"] = "parameter"
    requires_grad: bool = True
    device: str = "cpu"
    problem: str | None = None
    sharded: bool = False
    owners: tuple[tuple[int, str], ...] = ()

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


@dataclass(frozen=True)
class Network:
    """Modules in the order of `named_modules()`, tensors in the order of `named_parameters()`; module 0 is the root."""

    modules: tuple[ModuleInfo, ...]
    tensors: tuple[TensorInfo, ...]

    def __getstate__(self) -> dict[str, Any]:
        """Return what is copied and pickled: no look-ups."""
        return {"modules": self.modules, "tensors": self.tensors}

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

    @cached_property
    def _led_to_once(self) -> frozenset[int]:
        """The modules that one way leads to from the root: what they hold has one name."""
        once: set[int] = {0}
        for index in self.reachable(0) if self.modules else ():  # parents first
            parents = self.modules[index].parents
            if len(parents) == 1 and parents[0][0] in once:
                once.add(index)
        return frozenset(once)

    def names(self, tensor: TensorInfo, most: int = 16) -> list[str]:
        """Return every dotted name of a tensor, the canonical one first; at most `most`."""
        names = [tensor.name]
        if len(tensor.owners) == 1 and tensor.owners[0][0] in self._led_to_once:
            return names
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
        return Network(self.modules, tuple(tensor._replace(device=device) for tensor in self.tensors))

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

    owners: list[list[tuple[int, str]]] = [[] for _ in manifest.tensors]
    parents: list[list[tuple[int, str]]] = [[] for _ in manifest.modules]
    for i, module in enumerate(manifest.modules):
        for local, tensor in (*module.parameters.items(), *module.buffers.items()):
            owners[tensor].append((i, local))
        for name, child in module.children.items():
            parents[child].append((i, name))
    tensors = tuple(
        TensorInfo(
            i,
            raw.name,
            tuple(raw.shape),
            raw.dtype,
            raw.kind,
            raw.requires_grad,
            "manifest",
            raw.problem,
            owners=tuple(owners[i]),
        )
        for i, raw in enumerate(manifest.tensors)
    )
    modules = []
    for i, module in enumerate(manifest.modules):
        plain = {name: _plain(value) for name, value in module.attributes.items()}
        modules.append(
            ModuleInfo(
                i,
                module.name,
                module.label,
                build(module.cls),
                module.container,
                module.children,
                module.parameters,
                module.buffers,
                frozenset(module.absent),
                tuple(parents[i]),
                module.reset,
                Attributes({name: value for name, value in plain.items() if value is not MISSING}),
            )
        )
    return Network(tuple(modules), tensors)


def _jsonable(values: dict[str, Any]) -> dict[str, Any]:
    return {
        k: v for k, v in values.items() if not (isinstance(v, float) and (v != v or v in (float("inf"), -float("inf"))))
    }


def child_label(module: ModuleInfo, name: str) -> str:
    """Return a child or tensor of a module as a rule file writes it: `net.layers[0]`."""
    return label_within(module.label, module.container, name)


def label_within(label: str, container: str, name: str) -> str:
    """Return the label of what has this name in a module with a label of its own."""
    if container == "list" and name.isdigit():
        return f"{label}[{name}]"
    if name.isidentifier() or name.isdigit():
        return f"{label}.{name}"
    return f"{label}[{quoted(name)}]"


@lru_cache(maxsize=4096)
def class_values(cls: type) -> dict[str, Any]:
    """Return the plain attributes of a class, those of `nn.Module` itself and of Python's left out."""
    values: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        if base.__module__ not in ("builtins", "torch.nn.modules.module"):
            values.update({name: _plain(value) for name, value in base.__dict__.items()})
    return {k: v for k, v in values.items() if v is not MISSING and not k.startswith("__")}


# ---- from an nn.Module


@dataclass
class Live:
    """The objects behind a described network, by index. Parametrized tensors have no object of their own."""

    modules: list[nn.Module]
    tensors: list[torch.Tensor | None]


def describe_tensor(tensor: TensorInfo) -> str:
    return f"`{tensor.name}` {list(tensor.shape)}"
