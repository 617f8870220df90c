"""Plain attributes of modules and of their classes: numbers, strings, None, and tuples of those."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from initdsl.language.expressions.given import numpy_value

__all__ = ["MISSING", "NO_ATTRIBUTES", "Attributes", "class_values", "plain_value"]


# a longer tuple or list is no setting of a layer
LONGEST = 64


class _Missing:
    """The class of `MISSING`, which stands for an attribute that is not there or is no plain value."""

    def __repr__(self) -> str:
        return "MISSING"

    def __reduce__(self) -> str:
        return "MISSING"  # there is one, also in copies


MISSING: Any = _Missing()


def plain_value(value: Any) -> Any:
    """Return a value as plain ones, lists as tuples, subclasses as what they derive from; MISSING for anything else."""
    if type(value) in (bool, int, float, str, type(None)):
        return value
    if isinstance(value, tuple | list):
        if len(value) > LONGEST:
            return MISSING
        items = tuple(plain_value(item) for item in value)
        return MISSING if any(item is MISSING for item in items) else items
    if isinstance(value, bool | int | float | str) and not isinstance(value, type):
        for plain in (bool, int, float, str):  # bool before int, which it derives from
            if isinstance(value, plain):
                return plain.__call__(value) if plain is not str else str.__str__(value)
    converted = numpy_value(value)
    return MISSING if converted is value else plain_value(converted)


class Attributes(Mapping[str, Any]):
    """The plain attributes of a module as they are now: `{"in_features": 4, "out_features": 8}`.

    Few are ever read, so this holds a copy of the module's `__dict__` and checks a value when it is read. Attributes
    compare, copy and pickle as the plain values.
    """

    __slots__ = ("_held",)

    def __init__(self, held: Mapping[str, Any]):
        self._held = held

    def __getitem__(self, name: str) -> Any:
        value = plain_value(self._held[name])
        if value is MISSING:
            raise KeyError(name)
        return value

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in self._held and plain_value(self._held[name]) is not MISSING

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


@lru_cache(maxsize=4096)
def class_values(cls: type) -> dict[str, Any]:
    """Return the plain attributes of a class, those of `nn.Module` itself and of Python's left out."""
    values: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        if base.__module__ not in ("builtins", "torch.nn.modules.module"):
            values.update({name: plain_value(value) for name, value in base.__dict__.items()})
    return {k: v for k, v in values.items() if v is not MISSING and not k.startswith("__")}
