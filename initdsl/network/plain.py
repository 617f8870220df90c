"""Plain values: numbers, strings, None, and tuples of those."""

from __future__ import annotations

from typing import Any

from initdsl.language.expressions.given import numpy_value, scalar

__all__ = ["MISSING", "plain_value"]


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
        return scalar(value)
    converted = numpy_value(value)
    return MISSING if converted is value else plain_value(converted)
