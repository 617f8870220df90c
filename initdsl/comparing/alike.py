"""Whether two plans do the same to a tensor, numbers compared as far as their way of being computed lets them."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from typing import Any

from initdsl.initializers import Constant

from .facts import Core

__all__ = ["kind_of_change"]


# `0.02 / sqrt(24)` and `0.02 * 24 ** -0.5` differ in the last of their 16 digits, and are meant to be one number
TOLERANCE = 1e-12


# dtypes that a number is rounded to float32 for, or to less
ROUNDED = ("float32", "float16", "bfloat16")


_OPEN = ("uncovered", "partial")


def kind_of_change(before: Core, after: Core) -> str | None:
    """Return what kind of change leads from one to the other; None where nothing changes."""
    if before == after:
        return None
    if (before.shape, before.dtype) != (after.shape, after.dtype):
        return "reshaped"
    if before.status in _OPEN and after.status not in _OPEN:
        return "covered"
    if after.status in _OPEN and before.status not in _OPEN:
        return "uncovered"
    if before.status == after.status and _alike(before.writes, after.writes, before.dtype):
        return "moved" if before.streams != after.streams and (_seeded(before) or _seeded(after)) else None
    return "drawn" if before.streams or after.streams else "set"


def _seeded(core: Core) -> bool:
    """Return whether a seed decides the values."""
    return any(stream[0] is not None for stream in core.streams)


def _alike(a: Any, b: Any, dtype: str) -> bool:
    """Return whether writes are equal, but for the last digits of numbers that are computed."""
    if isinstance(a, float) and isinstance(b, float):
        return a == b or math.isclose(a, b, rel_tol=TOLERANCE) or (math.isnan(a) and math.isnan(b))
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and _all_alike(zip(a, b, strict=True), dtype)
    if type(a) is not type(b):
        return False
    if isinstance(a, Constant):
        return _rounded(a.value, dtype) == _rounded(b.value, dtype)
    if is_dataclass(a):
        return _all_alike(((getattr(a, f.name), getattr(b, f.name)) for f in fields(a)), dtype)
    return bool(a == b)


def _all_alike(pairs: Iterable[tuple[Any, Any]], dtype: str) -> bool:
    return all(_alike(a, b, dtype) for a, b in pairs)


def _rounded(value: float, dtype: str) -> float | str:
    """Return a number as the tensor holds it; a nan as a word, which equals itself."""
    if value != value:
        return "nan"
    try:
        return float(struct.unpack("f", struct.pack("f", value))[0]) if dtype in ROUNDED else value
    except OverflowError:
        return value
