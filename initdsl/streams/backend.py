"""Which engine fills: torch's operations, or the compiled kernel where it pays."""

from __future__ import annotations

import importlib.util
import os
import warnings
from functools import lru_cache
from typing import Any

from initdsl.text.failures import first_line

__all__ = ["compiled_kernel", "engine", "prepare"]


# Compiling the kernel takes as long as it saves on so many elements: that many are filled first.
_COMPILE_AFTER = 1 << 29


def engine() -> str:
    """Which code fills large float32 and half-type tensors on the CPU: `numba` or `torch`. Their bits are the same.

    The compiled kernel starts once enough elements were filled, or announced to `prepare`, to pay for compiling it.
    The environment variable INITDSL_KERNEL chooses: `torch` for no kernel, `numba` for the kernel at once. Raises
    ValueError for another value, or for `numba` where that is not installed.
    """
    return "torch" if _chosen() == "torch" else "numba"


def prepare(count: int) -> None:
    """Announce that some `count` elements are about to be filled, so that the kernel is there from the first one.

    Raises ValueError as `engine` does.
    """
    global _announced
    compiled_kernel(count)
    _announced += count


_unusable = False  # numba is there, and can't be imported


@lru_cache(maxsize=1)
def _load_kernel() -> Any:
    """The compiled kernel's module; None where numba is there but fails, as it does with a numpy it doesn't know."""
    global _unusable
    try:
        from . import numba_kernel as _kernel_numba
    except Exception as error:
        if os.environ.get("INITDSL_KERNEL") == "numba":
            raise
        problem = f"{type(error).__name__}: {first_line(error)}"
        warnings.warn(f"numba can't be used, torch fills in its place: {problem}", stacklevel=2)
        _unusable = True
        return None
    return _kernel_numba


def _chosen() -> str:
    choice = os.environ.get("INITDSL_KERNEL", "")
    if choice not in ("", "numba", "torch"):
        raise ValueError(f"INITDSL_KERNEL must be numba or torch, not {choice}")
    if choice != "torch" and importlib.util.find_spec("numba") is not None:
        return choice or ("torch" if _unusable else "auto")
    if choice == "numba":
        raise ValueError("INITDSL_KERNEL is numba, but numba is not installed")
    return "torch"


# elements that could have used the kernel, and of those what is announced and not filled yet; a lost update between
# threads only delays the kernel
_filled = _announced = 0


def compiled_kernel(count: int) -> Any:
    """The compiled kernel's module, or None where it is switched off, cannot be had or would not pay yet."""
    global _filled, _announced
    choice = _chosen()
    if choice == "torch":
        return None
    known = min(count, _announced)
    _announced -= known
    _filled += count - known
    return _load_kernel() if choice == "numba" or _filled >= _COMPILE_AFTER else None
