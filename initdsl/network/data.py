"""What lies inside a module's plain data: a configuration that is a dict, a dataclass, a namespace or the like.

Nothing is asked for by Python's own look-up, which may run a property or `__getattr__`: values are taken from where
instances and classes hold them.
"""

from __future__ import annotations

import math
import types
from collections.abc import Iterator
from typing import Any

from .plain import MISSING, plain_value

__all__ = ["READABLE", "as_plain", "data_names", "is_data", "item_of"]


READABLE = (
    "a dict, a dataclass, a namespace, a named tuple, a configuration of transformers, or any object's own attributes"
)


# of the classes whose instances a manifest holds whole; deeper, or more, than this nothing is
CONFIGURATIONS = frozenset(["SimpleNamespace", "Namespace", "PretrainedConfig", "PreTrainedConfig"])
DEEPEST, MOST = 4, 2000


def item_of(data: object, name: str) -> Any:
    """Return what an object holds under a name, as a key or an attribute; MISSING for nothing."""
    if issubclass(type(data), dict):
        return dict.get(data, name, MISSING)  # type: ignore[call-overload]
    own = _own(data)
    if name in own:
        return own[name]
    for base in type(data).__mro__:
        if name in base.__dict__:
            return _of_class(data, base, name)
    renamed = _class_value(data, "attribute_map")  # other names of the same, in configurations of transformers
    other = renamed.get(name) if isinstance(renamed, dict) else None
    return item_of(data, other) if isinstance(other, str) and other != name else MISSING


def _of_class(data: object, base: type, name: str) -> Any:
    value = base.__dict__[name]
    if isinstance(value, types.MemberDescriptorType):  # of `__slots__`
        try:
            return value.__get__(data)
        except AttributeError:
            return MISSING
    fields = base.__dict__.get("_fields", ())
    if issubclass(base, tuple) and name in fields:
        return tuple.__getitem__(data, fields.index(name))  # type: ignore[call-overload]
    return value


def _own(data: object) -> dict[str, Any]:
    """Return the attributes that an instance itself holds."""
    try:
        own = object.__getattribute__(data, "__dict__")
    except AttributeError:
        return {}
    return own if type(own) is dict else {}


def _class_value(data: object, name: str) -> Any:
    return next((base.__dict__[name] for base in type(data).__mro__ if name in base.__dict__), MISSING)


def data_names(data: object) -> list[str]:
    """Return the names of the plain values and of the data inside an object, the public ones."""
    if issubclass(type(data), dict):
        keys: Any = dict.keys(data)  # type: ignore[arg-type]
        names = [key for key in keys if type(key) is str]
    else:
        declared = (_class_value(data, name) for name in ("_fields", "__dataclass_fields__"))
        names = [*_own(data), *(name for each in declared if isinstance(each, tuple | dict) for name in each)]
    public = [name for name in dict.fromkeys(names) if not name.startswith("_")]
    return [name for name in public if plain_value(value := item_of(data, name)) is not MISSING or is_data(value)]


def is_data(value: object) -> bool:
    """Tell whether a value is a configuration: it holds nothing but values, and a manifest holds them too."""
    kind = type(value)
    if issubclass(kind, dict):
        return bool(value)
    if issubclass(kind, type):
        return False
    names = {base.__name__ for base in kind.__mro__}
    return bool(names & CONFIGURATIONS) or any("__dataclass_fields__" in base.__dict__ for base in kind.__mro__)


def as_plain(data: object) -> dict[str, Any]:
    """Return the plain values inside data, as nested dicts: JSON has them all."""
    return _nested(data, 0, iter(range(MOST)))


def _nested(data: object, depth: int, room: Iterator[int]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name in data_names(data):
        if next(room, None) is None:
            break
        value = item_of(data, name)
        plain = plain_value(value)
        if plain is MISSING:
            inside = _nested(value, depth + 1, room) if is_data(value) and depth < DEEPEST else {}
            values.update({name: inside} if inside else {})
        elif _has_json(plain):
            values[name] = plain
    return values


def _has_json(plain: Any) -> bool:
    if isinstance(plain, tuple):
        return all(map(_has_json, plain))
    return not isinstance(plain, float) or math.isfinite(plain)
