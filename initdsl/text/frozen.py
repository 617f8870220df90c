"""A dict that can't be changed, so that what holds it is a value."""

from __future__ import annotations

from typing import NoReturn, TypeVar

__all__ = ["FrozenDict"]

Key = TypeVar("Key")
Item = TypeVar("Item")


class FrozenDict(dict[Key, Item]):
    """A dict that can't be changed: `FrozenDict({"mean": 0.0})`. It hashes where its items do, compares, pickles, copies."""

    __slots__ = ()

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise TypeError("this mapping can't be changed")

    __setitem__ = __delitem__ = __ior__ = clear = pop = popitem = setdefault = update = _refuse

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))

    def __reduce__(self) -> tuple[type[FrozenDict[Key, Item]], tuple[dict[Key, Item]]]:
        return type(self), (dict(self),)
