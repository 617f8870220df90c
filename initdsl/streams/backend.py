"""Which engine fills: the compiled kernel, or torch's operations where there is none."""

from __future__ import annotations

import os
import warnings
from functools import lru_cache

from .native import Kernel, KernelError, load

__all__ = ["compiled_kernel", "engine", "prepare"]


def engine() -> str:
    """Return which code fills tensors on the CPU: `native (avx2)` or `torch`. The bits are the same.

    The compiled kernel fills wherever it was built, which `pip install` does where there is a C compiler. The
    environment variable INITDSL_KERNEL chooses: `native` or `torch`. Raises ValueError for another value, or for
    `native` where there is no kernel that can be used.
    """
    kernel = compiled_kernel()
    return "torch" if kernel is None else f"native ({kernel.vectors})"


def prepare(count: int = 0) -> None:
    """Load the kernel, so that what is wrong with it shows before anything is written. Raises ValueError as `engine` does.

    `count`, the number of elements that are about to be filled, makes no difference.
    """
    compiled_kernel()


def compiled_kernel() -> Kernel | None:
    """Return the kernel; None where it is switched off, or can't be used, which is said once."""
    choice = os.environ.get("INITDSL_KERNEL", "")
    if choice == "torch":
        return None
    kernel = _loaded()
    if isinstance(kernel, Kernel) and choice in ("", "native"):
        return kernel
    if choice == "native":
        raise ValueError(f"INITDSL_KERNEL is native, but {kernel}")
    if choice:
        raise ValueError(f"INITDSL_KERNEL must be native or torch, not {choice}")
    _warn(str(kernel))
    return None


@lru_cache(maxsize=1)
def _loaded() -> Kernel | KernelError:
    try:
        return load()
    except KernelError as error:
        return error


@lru_cache(maxsize=1)
def _warn(problem: str) -> None:
    warnings.warn(f"{problem}: torch's operations fill in its place, slower and with the same values", stacklevel=4)
