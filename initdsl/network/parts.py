"""The parts of a described model: modules, their classes, and tensors, as plain values that name one another by index."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, NamedTuple

from initdsl.text.frozen import FrozenDict
from initdsl.text.wording import quoted

from .attributes import MISSING, NO_ATTRIBUTES, Attributes

__all__ = [
    "NO_NUMBERS",
    "ClassInfo",
    "ModuleInfo",
    "TensorInfo",
    "child_label",
    "describe_tensor",
    "label_within",
    "step",
]


NO_NUMBERS: Mapping[str, int] = FrozenDict()


@dataclass(frozen=True, slots=True, eq=False)
class ClassInfo:
    """A class by name: `ClassInfo("Linear", "torch.nn.modules.linear.Linear", ("torch.nn.Linear",), bases)`.

    `qualname` is its name with that of its module, `aliases` are further public names, `bases` all classes it derives from.
    """

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
        """Every qualified name of the class."""
        return (self.qualname, *self.aliases)


class ModuleInfo(NamedTuple):
    """A module: `ModuleInfo(1, "layers", "net.layers", cls, "list", children={"0": 2})`.

    `children`, `parameters` and `buffers` map local names to indices in the model, `absent` are the names of those that
    are None; `transient` those of the buffers that state dicts leave out. `container` is "list", "dict" or ""; `places`
    are the names of all places of a list in which some hold no module or parameter, empty of any other. `parents` are
    `(index of a module, name of this one in it)`. `reset` is the name of the method that initializes its parameters, if
    it has one. `values` are the plain attributes of the instance, `class_values` those of its class. `silenced_at` is
    the weight that lets nothing through, of a norm that was asked.
    """

    index: int  # type: ignore[assignment]  # not tuple.index
    name: str
    label: str
    cls: ClassInfo
    container: str
    children: Mapping[str, int] = NO_NUMBERS
    parameters: Mapping[str, int] = NO_NUMBERS
    buffers: Mapping[str, int] = NO_NUMBERS
    absent: frozenset[str] = frozenset()
    parents: tuple[tuple[int, str], ...] = ()
    reset: str | None = None
    values: Attributes = NO_ATTRIBUTES
    class_values: Mapping[str, Any] = FrozenDict()
    transient: frozenset[str] = frozenset()
    places: tuple[str, ...] = ()
    silenced_at: float | None = None

    def __hash__(self) -> int:
        return hash((self.index, self.name, self.cls))

    @property
    def is_norm(self) -> bool:
        """Whether this is a normalization layer, by the name of its class or of one it derives from."""
        return any("norm" in cls.name.lower() for cls in (self.cls, *self.cls.bases))

    @property
    def state(self) -> Mapping[str, int]:
        """The tensors of its own that a state dict has, by local name: parameters and persistent buffers."""
        if not self.buffers:
            return self.parameters
        kept = {local: tensor for local, tensor in self.buffers.items() if local not in self.transient}
        return {**self.parameters, **kept}

    @property
    def in_order(self) -> tuple[str, ...]:
        """The names of what a list holds, by position, those of places that hold nothing among them."""
        return self.places or tuple(self.children or self.parameters)

    def attribute(self, name: str) -> Any:
        """Return a plain attribute of the instance or its class: number, string, None, a tuple of those; else MISSING."""
        value = self.values.get(name, MISSING)
        return self.class_values.get(name, MISSING) if value is MISSING and not self.values.hides(name) else value

    def attributes(self) -> dict[str, Any]:
        """Return the public plain attributes of the instance, but for `training`."""
        return {k: v for k, v in self.values.items() if k[:1] != "_" and k != "training"}

    def inherited(self) -> dict[str, Any]:
        """Return the public plain attributes of the class, those of `nn.Module` itself left out."""
        return {name: value for name, value in self.class_values.items() if not name.startswith("_")}


class TensorInfo(NamedTuple):
    """A parameter or buffer, once for all its names: `TensorInfo(0, "0.weight", (8, 4), "float32")`.

    `owners` are `(index of a module, local name)`; `label` is the tensor as a rule file writes it. `problem` is why the
    tensor can't be written to, None if it can. `loaded` says that transformers read it from a checkpoint. `device` is a
    type of device, "manifest" in a model read from a manifest.
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
    loaded: bool = False
    owners: tuple[tuple[int, str], ...] = ()
    label: str = ""

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def numel(self) -> int:
        return math.prod(self.shape)

    @property
    def floating(self) -> bool:
        return "float" in self.dtype

    @property
    def complex(self) -> bool:
        return self.dtype.startswith("complex")

    @property
    def integral(self) -> bool:
        """Whether its elements are integers or truth values."""
        return not self.floating and not self.complex


def child_label(module: ModuleInfo, name: str) -> str:
    """Return a child or tensor of a module as a rule file writes it: `net.layers[0]`."""
    return label_within(module.label, module.container, name)


def label_within(label: str, container: str, name: str) -> str:
    """Return the label of a child or tensor `name` of a module, by the module's label and kind of container."""
    return f"{label}[{name}]" if container == "list" and name.isdigit() else label + step(name)


@lru_cache(maxsize=4096)
def step(name: str) -> str:
    """Return what leads from a module to a child or tensor of it by name: `.weight`, `["seg-1"]`."""
    return f".{name}" if name.isidentifier() or name.isdigit() else f"[{quoted(name)}]"


def describe_tensor(tensor: TensorInfo) -> str:
    """Return a tensor as a rule file writes it, and its shape, for a message: "`net[0].weight` [8, 4]"."""
    return f"`{tensor.label}` {list(tensor.shape)}"
