"""Manifests: models as JSON. What is read is checked first, whoever wrote it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .attributes import Attributes
from .data import as_plain
from .parts import ClassInfo, ModuleInfo, TensorInfo, label_within
from .plain import MISSING, plain_value

__all__ = ["LARGEST", "read", "written"]


FORMAT = "initdsl-manifest"


VERSION = 1


LARGEST = 256 << 20  # bytes of a file


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, defer_build=True)


class Module(_Strict):
    """A module, `{"name": "0", "label": "net[0]", "class": "torch.nn.modules.linear.Linear", ...}`.

    `children`, `parameters` and `buffers` map local names to indices. `transient` and `places` are left out where they are
    empty, `silenced_at` where it is None.
    """

    name: str
    label: str
    cls: str = Field(alias="class")
    container: Literal["list", "dict", ""]
    children: dict[str, int]
    parameters: dict[str, int]
    buffers: dict[str, int]
    absent: list[str]
    reset: Literal["reset_parameters", "_reset_parameters"] | None
    attributes: dict[str, Any]
    transient: list[str] = []
    places: list[str] = []
    silenced_at: float | None = None


class Tensor(_Strict):
    """A parameter or buffer, once for all its names: `{"name": "0.weight", "shape": [8, 4], "dtype": "float32", ...}`."""

    name: str
    shape: list[int] = Field(max_length=64)
    dtype: str = Field(pattern=r"^[a-z0-9_]{1,32}$")
    kind: Literal["parameter", "buffer", "parametrized"]
    requires_grad: bool
    problem: str | None = Field(max_length=1000)
    loaded: bool = False


class Class(_Strict):
    """A class, `{"name": "Linear", "aliases": ["torch.nn.Linear"], "bases": ["torch.nn.modules.module.Module"]}`."""

    name: str
    aliases: list[str]
    bases: list[str]


class Manifest(_Strict):
    """A model, `{"modules": [...], "tensors": [...], "classes": {...}}`: module 0 is the root, classes are by qualified name."""

    modules: list[Module] = Field(min_length=1)
    tensors: list[Tensor]
    classes: dict[str, Class]


def checked(manifest: Any) -> Manifest:
    """Return a manifest in which every value has its type and every index and class exists. Raises ValueError for others."""
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ValueError("this is not an initdsl manifest")
    if manifest.get("version") != VERSION:
        raise ValueError(f"manifest version {manifest.get('version')!r:.20} is not understood, only {VERSION}")
    try:
        valid = Manifest.model_validate(manifest)
    except ValidationError as error:
        steps = [f"[{step}]" if isinstance(step, int) else f".{step:.100}" for step in error.errors()[0]["loc"]]
        raise damaged(f"`{''.join(steps)[1:]}` is not what it should be") from None
    for place, problem in _problems(valid):
        raise damaged(f"`{place}` {problem}")
    return valid


def damaged(problem: str) -> ValueError:
    return ValueError(f"the manifest is damaged: {problem}")


def _problems(manifest: Manifest) -> Iterator[tuple[str, str]]:
    """Yield indices and names that lead nowhere, and shapes that no tensor has, as `(place, problem)`."""
    modules, tensors, owned = range(len(manifest.modules)), range(len(manifest.tensors)), set()
    for number, module in enumerate(manifest.modules):
        place, held = f"modules[{number}]", [*module.parameters.values(), *module.buffers.values()]
        if module.cls not in manifest.classes:
            yield place, "is of a class that is not there"
        if not all(child in modules for child in module.children.values()):
            yield place, "has a child that is not there"
        if not all(tensor in tensors for tensor in held):
            yield place, "has a tensor that is not there"
        owned.update(held)
    for number, tensor in enumerate(manifest.tensors):
        if number not in owned:
            yield f"tensors[{number}]", "is in no module"
        if any(size < 0 for size in tensor.shape) or math.prod(tensor.shape) >= 2**63:
            yield f"tensors[{number}]", "has a shape that no tensor has"
    for name, cls in manifest.classes.items():
        if not all(base in manifest.classes for base in cls.bases):
            yield f"classes.{name:.100}", "derives from a class that is not there"


# ---- from and to the parts of a network


def read(manifest: Mapping[str, Any]) -> tuple[tuple[ModuleInfo, ...], tuple[TensorInfo, ...]]:
    """Return the modules and tensors a manifest describes. Raises ValueError where it is none, or of a newer version."""
    try:
        return _parts(checked(manifest))
    except RecursionError:
        raise damaged("it is nested too deeply") from None


def _parts(manifest: Manifest) -> tuple[tuple[ModuleInfo, ...], tuple[TensorInfo, ...]]:
    """Return the parts of a model whose manifest is valid, with the ways back: owners of tensors, parents of modules."""
    classes: dict[str, ClassInfo] = {}

    def class_of(qualname: str) -> ClassInfo:
        if qualname not in classes:
            cls = manifest.classes[qualname]
            classes[qualname] = ClassInfo(cls.name, qualname, tuple(cls.aliases), tuple(map(class_of, cls.bases)))
        return classes[qualname]

    owners: list[list[tuple[int, str]]] = [[] for _ in manifest.tensors]
    parents: list[list[tuple[int, str]]] = [[] for _ in manifest.modules]
    for i, module in enumerate(manifest.modules):
        for local, number in (*module.parameters.items(), *module.buffers.items()):
            owners[number].append((i, local))
        for name, child in module.children.items():
            parents[child].append((i, name))
    tensors = tuple(
        _tensor_info(i, tensor, owners[i], manifest.modules[owners[i][0][0]])
        for i, tensor in enumerate(manifest.tensors)
    )
    modules = tuple(
        _module_info(i, module, class_of(module.cls), parents[i]) for i, module in enumerate(manifest.modules)
    )
    return modules, tensors


def _tensor_info(index: int, tensor: Tensor, owners: Sequence[tuple[int, str]], owner: Module) -> TensorInfo:
    return TensorInfo(
        index=index,
        name=tensor.name,
        shape=tuple(tensor.shape),
        dtype=tensor.dtype,
        kind=tensor.kind,
        requires_grad=tensor.requires_grad,
        device="manifest",
        problem=tensor.problem,
        loaded=tensor.loaded,
        owners=tuple(owners),
        label=label_within(owner.label, owner.container, owners[0][1]),
    )


def _module_info(index: int, module: Module, cls: ClassInfo, parents: Sequence[tuple[int, str]]) -> ModuleInfo:
    return ModuleInfo(
        index=index,
        name=module.name,
        label=module.label,
        cls=cls,
        container=module.container,
        children=module.children,
        parameters=module.parameters,
        buffers=module.buffers,
        absent=frozenset(module.absent),
        parents=tuple(parents),
        reset=module.reset,
        values=_plain_attributes(module.attributes),
        transient=frozenset(module.transient),
        places=tuple(module.places),
        silenced_at=module.silenced_at,
    )


def _plain_attributes(attributes: Mapping[str, Any]) -> Attributes:
    """Return those attributes that are plain values, or configurations of such, which are JSON objects."""
    plain = {name: value if isinstance(value, dict) else plain_value(value) for name, value in attributes.items()}
    return Attributes({name: value for name, value in plain.items() if value is not MISSING})


def written(
    modules: Sequence[ModuleInfo], tensors: Sequence[TensorInfo], names: Sequence[list[str]], fingerprint: str
) -> dict[str, Any]:
    """Return the manifest of a model, as JSON-ready values; `names` are all those of each tensor."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "fingerprint": fingerprint,
        "modules": [_module(module, data) for module, data in zip(modules, _data_of(modules), strict=True)],
        "tensors": [_tensor(*row) for row in zip(tensors, names, strict=True)],
        "classes": _classes(module.cls for module in modules),
    }


def _data_of(modules: Sequence[ModuleInfo]) -> Iterator[dict[str, Any]]:
    """Yield for each module the configurations that it is the first to hold, as nested dicts."""
    seen: set[int] = set()
    for module in modules:
        new = {name: data for name, data in module.values.data().items() if id(data) not in seen}
        seen.update(map(id, new.values()))
        plain = {name: as_plain(data) for name, data in new.items()}
        yield {name: values for name, values in plain.items() if values}


def _module(module: ModuleInfo, data: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": module.name,
        "label": module.label,
        "class": module.cls.qualname,
        "container": module.container,
        "children": module.children,
        "parameters": module.parameters,
        "buffers": module.buffers,
        "absent": sorted(module.absent),
        "reset": module.reset,
        "attributes": {**_jsonable({**module.inherited(), **module.attributes()}), **data},
        **({"transient": sorted(module.transient)} if module.transient else {}),
        **({"places": list(module.places)} if module.places else {}),
        **({} if module.silenced_at is None else {"silenced_at": module.silenced_at}),
    }


def _tensor(tensor: TensorInfo, names: list[str]) -> dict[str, Any]:
    return {
        "name": tensor.name,
        "shape": list(tensor.shape),
        "dtype": tensor.dtype,
        "kind": tensor.kind,
        "requires_grad": tensor.requires_grad,
        "names": names,
        "problem": tensor.problem,
        **({"loaded": True} if tensor.loaded else {}),
    }


def _classes(classes: Iterable[ClassInfo]) -> dict[str, Any]:
    """Return classes and all they derive from, by qualified name; each class before its bases."""
    rows: dict[str, Any] = {}

    def add(cls: ClassInfo) -> str:
        if cls.qualname not in rows:
            row: dict[str, Any] = {"name": cls.name, "aliases": list(cls.aliases)}
            rows[cls.qualname] = row  # before its bases, in this order and so that a circle of classes ends
            row["bases"] = [add(base) for base in cls.bases]
        return cls.qualname

    for cls in classes:
        add(cls)
    return rows


def _jsonable(values: dict[str, Any]) -> dict[str, Any]:
    """Leave out the numbers that JSON can't hold: infinities and NaN."""
    return {
        name: value for name, value in values.items() if not (isinstance(value, float) and not math.isfinite(value))
    }
