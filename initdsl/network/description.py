"""A model as a value: its modules and tensors, their names, and their ties."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from initdsl.text.files import read_whole

from . import manifest as manifests
from .parts import ClassInfo, ModuleInfo, TensorInfo
from .stages import part_of

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["Live", "Network"]


# how many steps are taken to find the names of one shared module, and how many names there are at most: shared modules
# inside shared modules have exponentially many
STEPS = 20_000
NAMES = 1024


@dataclass(frozen=True)
class Network:
    """A described model: `Network((root, linear), (weight, bias))`, of ModuleInfo and TensorInfo.

    Modules are in the order of `named_modules()`, tensors in that of their modules; module 0 is the root. `is_whole` says
    that somebody knows it to be no part of a larger model.
    """

    modules: tuple[ModuleInfo, ...]
    tensors: tuple[TensorInfo, ...]
    is_whole: bool = field(default=False, compare=False)

    def __hash__(self) -> int:
        return hash(self.tensors)

    def __getstate__(self) -> dict[str, Any]:
        """Return the fields alone: the cached tables are computed anew in a copy."""
        return {"modules": self.modules, "tensors": self.tensors, "is_whole": self.is_whole}

    @cached_property
    def part(self) -> str | None:
        """By what it is taken for a part of a model, such as a stage of a pipeline; None where it is not."""
        return None if self.is_whole else part_of(self.modules)

    @cached_property
    def by_class(self) -> dict[ClassInfo, list[int]]:
        """The indices of the modules of each class."""
        indices: dict[ClassInfo, list[int]] = {}
        known: dict[int, list[int]] = {}  # by identity: to hash a class takes longer than all else here
        for module in self.modules:
            cls = module.cls
            if id(cls) not in known:
                known[id(cls)] = indices.setdefault(cls, [])
            known[id(cls)].append(module.index)
        return indices

    @cached_property
    def apply_order(self) -> list[int]:
        """The indices of the modules as `net.apply` visits them: children first, each once."""
        order: list[int] = []
        seen = {0} if self.modules else set()
        stack: list[tuple[int, Iterator[int]]] = [(0, iter(self.modules[0].children.values()))] if self.modules else []
        while stack:
            index, rest = stack[-1]
            for child in rest:
                if child in seen:
                    continue
                seen.add(child)
                below = self.modules[child].children
                if below:
                    stack.append((child, iter(below.values())))
                    break
                order.append(child)
            else:
                order.append(index)
                stack.pop()
        return order

    def reachable(self, *starts: int) -> list[int]:
        """Return modules and everything below them, in pre-order, each once, by index."""
        return self.reachable_but(set(), *starts)

    def reachable_but(self, seen: set[int], *starts: int) -> list[int]:
        """Return modules and everything below them as `reachable` does, but for what is `seen` already; it is seen then."""
        order: list[int] = []
        modules = self.modules
        for start in starts:
            stack = [start] if start not in seen else []
            seen.add(start)
            while stack:
                index = stack.pop()
                order.append(index)
                below = modules[index].children
                if below:  # few have any
                    children = [c for c in below.values() if c not in seen]
                    seen.update(children)
                    stack.extend(reversed(children))
        return order

    def paths_below(self, module: int) -> Iterator[tuple[int, str]]:
        """Yield every module in another one, itself first, by index and name there with a dot behind: `(3, "mlp.0.")`.

        A module that is reached in several ways comes by each, the first ones of very many.
        """
        ways: dict[int, int] = {}
        stack: list[tuple[int, str, frozenset[int]]] = [(module, "", frozenset())]
        while stack:
            index, path, above = stack.pop()
            ways[index] = ways.get(index, 0) + 1
            if index in above or ways[index] > NAMES:
                continue
            yield index, path
            children = self.modules[index].children
            if children:
                inside = above | {index}
                stack += [(child, f"{path}{name}.", inside) for name, child in reversed(list(children.items()))]

    @property
    def size(self) -> int:
        """How many modules and tensors there are."""
        return len(self.modules) + len(self.tensors)

    def originals(self, tensor: TensorInfo) -> list[int]:
        """Return the parameters, by index, from which a parametrization or an older hook computes a tensor."""
        owner, local = tensor.owners[0]
        module = self.modules[owner]
        holder = module.children.get("parametrizations")
        chain = None if holder is None else self.modules[holder].children.get(local)
        if chain is not None:
            return list(self.modules[chain].parameters.values())
        names = (f"{local}_orig", f"{local}_g", f"{local}_v")
        return [module.parameters[name] for name in names if name in module.parameters]

    @cached_property
    def computed(self) -> dict[int, int]:
        """Of each parameter that a tensor is computed from which that is, by their indices."""
        return {
            original: tensor.index
            for tensor in self.tensors
            if tensor.kind == "parametrized"
            for original in self.originals(tensor)
        }

    @cached_property
    def is_tree(self) -> bool:
        """Whether nothing is shared: every module and tensor has one name."""
        return all(len(m.parents) < 2 for m in self.modules) and all(len(t.owners) == 1 for t in self.tensors)

    @cached_property
    def _led_to_once(self) -> frozenset[int]:
        """The modules to which a single path leads from the root, by index: their tensors have one name there."""
        if all(len(module.parents) < 2 for module in self.modules):
            return frozenset(range(len(self.modules)))
        once: set[int] = {0}
        for index in self.reachable(0) if self.modules else ():  # parents first
            parents = self.modules[index].parents
            if len(parents) == 1 and parents[0][0] in once:
                once.add(index)
        return frozenset(once)

    def names(self, tensor: TensorInfo) -> list[str]:
        """Return every dotted name of a tensor, the canonical one first."""
        return list(self.aliases(tensor))

    def aliases(self, tensor: TensorInfo) -> tuple[str, ...]:
        """Return every dotted name of a tensor, the canonical one first, as a tuple."""
        owners = tensor.owners
        if len(owners) == 1 and owners[0][0] in self._led_to_once:
            return (tensor.name,)
        names = {tensor.name: None}
        for owner, local in owners:
            names.update(dict.fromkeys(f"{path}.{local}" if path else local for path in self.module_names(owner)))
        return tuple(names)

    def tensor_named(self, name: str) -> TensorInfo | None:
        """Return the tensor of a dotted name, of however many it has; None where there is none."""
        *path, local = name.split(".")
        module = self.modules[0]
        for step in path:
            child = module.children.get(step)
            if child is None:
                return None
            module = self.modules[child]
        index = module.parameters.get(local, module.buffers.get(local))
        return None if index is None else self.tensors[index]

    def module_names(self, index: int) -> list[str]:
        """Return every dotted name of a module, the first ones of very many."""
        # most modules have one parent, and so have those around them: then the name is known
        module = above = self.modules[index]
        for _ in self.modules:  # bounded: in a manifest modules may hold each other
            if not above.index or not above.parents:
                return [module.name]  # one way leads here from the root
            if len(above.parents) > 1:
                break
            above = self.modules[above.parents[0][0]]
        else:
            return [module.name]
        paths: list[str] = []
        stack: list[tuple[int, str, frozenset[int]]] = [(index, "", frozenset())]
        for _ in range(STEPS):  # bounded: shared modules inside shared modules have exponentially many paths
            if not stack or len(paths) >= NAMES:
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
        """Yield a module and every module it lies in, each once, by index."""
        seen, stack = set(), [index]
        while stack:
            current = stack.pop()
            if current in seen:
                continue
            seen.add(current)
            yield current
            stack.extend(parent for parent, _ in self.modules[current].parents)

    def label(self, tensor: TensorInfo) -> str:
        """Return a tensor as a rule file writes it: `net[0].weight`."""
        return tensor.label

    def on_device(self, device: str) -> Network:
        """Return the same model with its tensors on another type of device; this one stays as it is."""
        return replace(self, tensors=tuple(tensor._replace(device=device) for tensor in self.tensors))

    def fingerprint(self) -> str:
        """Return a hash of names, classes, shapes, dtypes and ties, in hexadecimal digits."""
        parts = [[t.name, t.shape, t.dtype, t.kind, self.names(t)] for t in self.tensors]
        parts += [[m.name, m.cls.qualname] for m in self.modules]
        return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()

    def to_manifest(self) -> dict[str, Any]:
        """Return the model as JSON-ready values, versioned."""
        names = [self.names(tensor) for tensor in self.tensors]
        return manifests.written(self.modules, self.tensors, names, self.fingerprint())

    @classmethod
    def from_manifest(cls, manifest: Mapping[str, Any]) -> Network:
        """Return the model a manifest describes. Raises ValueError where it is none, or of a newer version."""
        return cls(*manifests.read(manifest))

    @classmethod
    def from_manifest_file(cls, path: str) -> Network:
        """Return the model that a file describes. Raises OSError, and ValueError or RecursionError where it is no manifest."""
        return cls.from_manifest(json.loads(read_whole(path, manifests.LARGEST)))


@dataclass
class Live:
    """The objects behind a described model, by index: `Live([net, net[0]], [net[0].weight, net[0].bias])`.

    Of a computed tensor it is None: `torch.nn.utils.parametrize` makes a new one at every access. Of a stage of a pipeline
    the model is the whole one: then it is None of the tensors, by number, that are `elsewhere`, and one empty module stands
    for all `missing` ones.
    """

    modules: list[nn.Module]
    tensors: list[torch.Tensor | None]
    elsewhere: frozenset[int] = frozenset()
    missing: frozenset[int] = frozenset()
