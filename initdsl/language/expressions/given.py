"""Values that Python code gives for `let` names, as the language has them: numbers, words, and vectors of those."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

__all__ = ["given_value", "numpy_value", "scalar", "unusable", "vector"]


# a larger vector belongs in a file, from where `load` takes it
LARGEST_VECTOR = 1 << 20

DEEPEST_VECTOR = 16


def given_value(value: Any, depth: int = 0) -> Any:
    """Return a value as plain numbers, text and nested tuples of those; what is none of them as it came.

    Numbers of numpy, 0-d arrays and whatever else counts as a number become Python's; arrays, tensors, lists and other
    sequences become tuples.
    """
    if type(value) in (bool, int, float, str, type(None)):
        return value
    if isinstance(value, bool | int | float | str):
        return scalar(value)
    if hasattr(value, "tolist"):
        return _of_array(value)
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray | memoryview):
        too_large = len(value) > LARGEST_VECTOR or depth > DEEPEST_VECTOR
        return value if too_large else tuple(given_value(item, depth + 1) for item in value)
    return _of_number(value)


def scalar(value: float | str) -> float | str:
    """Return a number or text of a class of its own as Python's, a member of an enumeration as its value."""
    if isinstance(value, str):
        return str.__str__(value)
    return next(kind(value) for kind in (bool, int, float) if isinstance(value, kind))  # bool before int, its base


def _of_array(value: Any) -> Any:
    """Return the elements of an array or a tensor, nested as its dimensions are; itself where it has no values here."""
    if math.prod(getattr(value, "shape", ())) > LARGEST_VECTOR or getattr(value, "is_meta", False):
        return value
    try:
        plain = value.tolist()
    except Exception:
        return value
    return _of_number(value) if hasattr(plain, "tolist") else given_value(plain)  # a long double lists itself


def _of_number(value: Any) -> Any:
    """Return what has an integer's or a real number's value as that; anything else as it came."""
    if isinstance(value, type):
        return value
    real = isinstance(value, numbers.Real | Decimal) or not isinstance(value, numbers.Number)
    kind: Any = int if hasattr(value, "__index__") else float if real and hasattr(value, "__float__") else None
    try:
        return value if kind is None else kind(value)
    except (ArithmeticError, ValueError, TypeError):
        return value


def unusable(value: Any) -> str | None:
    """Return what a `let` name's value must be, where this is not it."""
    if isinstance(value, tuple):
        return next((wrong for item in value if (wrong := unusable(item)) is not None), None)
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return "an integer of at most 64 bits, or a float"
    if isinstance(value, bool | int | float | str | type(None)):
        return None
    if getattr(value, "is_meta", False):
        return "a tensor with values, not one on the meta device"
    if isinstance(value, Sequence) or hasattr(value, "tolist"):
        size = math.prod(value.shape) if hasattr(value, "shape") else len(value)
        if size > LARGEST_VECTOR:
            return (
                f"a vector of at most {LARGEST_VECTOR:,} numbers, not of {size:,}: a larger one is `load`ed from a file"
            )
    return f"a number, a string or a vector of those, not {type(value).__name__}"


def vector(value: Any) -> Any:
    """Return nested tuples as the nested lists by which the language writes vectors."""
    return [vector(item) for item in value] if isinstance(value, tuple) else value


def numpy_value(value: Any) -> Any:
    """Return a number or an array of numpy as `given_value` does; anything else as it came."""
    return given_value(value) if type(value).__module__ == "numpy" else value
