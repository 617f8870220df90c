"""Which engine fills: torch's operations, or the compiled kernel where it pays."""

from __future__ import annotations

import importlib.util
import os
import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

from initdsl.text.failures import first_line

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Rows = NDArray[np.float32]  # two-dimensional and contiguous
    Table = NDArray[np.float32]

__all__ = ["Kernel", "compiled_kernel", "engine", "prepare"]


# Compiling the kernel takes as long as it saves on so many elements: that many are filled first.
_COMPILE_AFTER = 1 << 29


class Kernel(Protocol):
    """What the compiled module does: the values of one recipe each, written into the rows of an array.

    The first element has the place `offset` in the stream, that of each further row `step` more than of the row before.
    """

    def affine(
        self,
        out: Rows,
        offset: int,
        step: int,
        state: int,
        gamma: int,
        scale: float,
        middle: float,
        low: float,
        high: float,
        /,
    ) -> None: ...

    def choice(
        self, out: Rows, offset: int, step: int, state: int, gamma: int, last: int, low: float, high: float, /
    ) -> None: ...

    def lines(
        self,
        out: Rows,
        offset: int,
        step: int,
        state: int,
        gamma: int,
        intercepts: Table,
        slopes: Table,
        low: float,
        high: float,
        /,
    ) -> None: ...


@dataclass
class _Usage:
    """What this process knows of its kernel. A lost update between threads only delays compiling it."""

    filled: int = 0  # elements that the kernel could have written
    announced: int = 0  # of those that were announced, how many are not filled yet
    unusable: bool = False  # numba is installed, and can't be imported


_usage = _Usage()


def engine() -> str:
    """Return which code fills large float32 and half-type tensors on the CPU: `numba` or `torch`. The bits are the same.

    The compiled kernel starts once enough elements were filled, or announced to `prepare`, to pay for compiling it.
    The environment variable INITDSL_KERNEL chooses: `torch` for no kernel, `numba` for the kernel at once. Raises
    ValueError for another value, or for `numba` where that is not installed.
    """
    return "torch" if _choice() == "torch" else "numba"


def prepare(count: int) -> None:
    """Announce that some `count` elements are about to be filled, so that the kernel is there from the first one.

    Raises ValueError as `engine` does.
    """
    compiled_kernel(count)
    _usage.announced += count


def compiled_kernel(count: int) -> Kernel | None:
    """Return the kernel for a fill of `count` elements; None where it is switched off, unusable or would not pay yet."""
    choice = _choice()
    if choice == "torch":
        return None
    announced = min(count, _usage.announced)
    _usage.announced -= announced
    _usage.filled += count - announced
    return _compile() if choice == "numba" or _usage.filled >= _COMPILE_AFTER else None


def _choice() -> str:
    """Return the engine that was asked for and can be had: `torch`, `numba`, or `auto` for numba when it pays."""
    choice = os.environ.get("INITDSL_KERNEL", "")
    if choice not in ("", "numba", "torch"):
        raise ValueError(f"INITDSL_KERNEL must be numba or torch, not {choice}")
    if choice != "torch" and importlib.util.find_spec("numba") is not None:
        return choice or ("torch" if _usage.unusable else "auto")
    if choice == "numba":
        raise ValueError("INITDSL_KERNEL is numba, but numba is not installed")
    return "torch"


@lru_cache(maxsize=1)
def _compile() -> Kernel | None:
    """Return the kernel, compiled by its import; None where numba fails, as it does with a numpy it doesn't know."""
    try:
        from . import numba_kernel
    except Exception as error:
        if os.environ.get("INITDSL_KERNEL") == "numba":
            raise
        problem = f"{type(error).__name__}: {first_line(error)}"
        warnings.warn(f"numba can't be used, torch fills in its place: {problem}", stacklevel=2)
        _usage.unusable = True
        return None
    return numba_kernel
