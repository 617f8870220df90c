"""Plain attributes of modules and of their classes: numbers, strings, None, and tuples of those."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from .data import as_plain, is_data
from .plain import MISSING, plain_value

__all__ = ["MISSING", "NO_ATTRIBUTES", "Attributes", "class_values", "plain_value"]


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

    def held(self, name: str) -> Any:
        """Return what the instance holds under this name, plain or not; MISSING for nothing."""
        return self._held.get(name, MISSING)

    def data(self) -> dict[str, Any]:
        """Return the configurations that the instance holds, by their public names."""
        return {name: value for name, value in self._held.items() if name[:1] != "_" and is_data(value)}

    def hides(self, name: str) -> bool:
        """Tell whether the instance has an attribute of this name, plain or not."""
        return name in self._held

    def __reduce__(self) -> tuple[type[Attributes], tuple[dict[str, Any]]]:
        hidden = {name: MISSING for name in self._held if name not in self and name[:1] != "_"}
        inside = {name: as_plain(value) for name, value in self.data().items()}
        return Attributes, ({**hidden, **inside, **self},)

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
