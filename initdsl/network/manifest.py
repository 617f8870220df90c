"""What a manifest holds: a network described as JSON, checked before anything is made of it, whoever wrote it."""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

__all__ = ["FORMAT", "LARGEST", "VERSION", "Manifest", "checked"]


FORMAT = "initdsl-manifest"


VERSION = 1


LARGEST = 256 << 20


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, defer_build=True)


class Module(_Strict):
    """One module: `children`, `parameters` and `buffers` map local names to indices."""

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


class Tensor(_Strict):
    """One parameter or buffer, whatever number of names it has."""

    name: str
    shape: list[int] = Field(max_length=64)
    dtype: str = Field(pattern=r"^[a-z0-9_]{1,32}$")
    kind: Literal["parameter", "buffer", "parametrized"]
    requires_grad: bool
    problem: str | None = Field(max_length=1000)


class Class(_Strict):
    """A class by name, and by the qualified names of those it derives from."""

    name: str
    aliases: list[str]
    bases: list[str]


class Manifest(_Strict):
    """A network: module 0 is the root, classes go by qualified name."""

    modules: list[Module] = Field(min_length=1)
    tensors: list[Tensor]
    classes: dict[str, Class]


def checked(manifest: Any) -> Manifest:
    """A manifest in which everything is of its type and every index and class is there. Raises ValueError."""
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ValueError("this is not an initdsl manifest")
    if manifest.get("version") != VERSION:
        raise ValueError(f"manifest version {manifest.get('version')!r:.20} is not understood, only {VERSION}")
    try:
        found = Manifest.model_validate(manifest)
    except ValidationError as error:
        steps = [f"[{step}]" if isinstance(step, int) else f".{step:.100}" for step in error.errors()[0]["loc"]]
        raise damaged(f"`{''.join(steps)[1:]}` is not what it should be") from None
    for place, problem in _problems(found):
        raise damaged(f"`{place}` {problem}")
    return found


def damaged(what: str) -> ValueError:
    return ValueError(f"the manifest is damaged: {what}")


def _problems(found: Manifest) -> Any:
    """What does not hold together, as `(where, what)`."""
    modules, tensors, owned = range(len(found.modules)), range(len(found.tensors)), set()
    for number, module in enumerate(found.modules):
        where, inside = f"modules[{number}]", [*module.parameters.values(), *module.buffers.values()]
        if module.cls not in found.classes:
            yield where, "is of a class that is not there"
        if not all(child in modules for child in module.children.values()):
            yield where, "has a child that is not there"
        if not all(tensor in tensors for tensor in inside):
            yield where, "has a tensor that is not there"
        owned.update(inside)
    for number, tensor in enumerate(found.tensors):
        if number not in owned:
            yield f"tensors[{number}]", "is in no module"
        if any(size < 0 for size in tensor.shape) or math.prod(tensor.shape) >= 2**63:
            yield f"tensors[{number}]", "has a shape that no tensor has"
    for name, cls in found.classes.items():
        if not all(base in found.classes for base in cls.bases):
            yield f"classes.{name:.100}", "derives from a class that is not there"
