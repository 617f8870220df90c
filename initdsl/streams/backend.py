"""Which engine fills: the compiled kernel on a CPU, Triton's on a GPU, or torch's operations where there is none."""

from __future__ import annotations

import os
import warnings
from functools import lru_cache
from types import ModuleType

from initdsl.text.failures import first_line

from .native import Kernel, KernelError, load

__all__ = ["compiled_kernel", "engine", "prepare", "silent_kernel", "triton_kernel", "wanted", "warn"]


def engine(device: str = "cpu") -> str:
    """Return which code fills tensors on a kind of device: `native (avx2)`, `triton` or `torch`. The bits are the same.

    On a CPU the compiled kernel fills wherever it was built, which `pip install` does where there is a C compiler; on a
    CUDA device the kernel of Triton, which torch brings there. The environment variable INITDSL_KERNEL chooses, as it
    is when this is asked or a model begins to be filled: `native`, `triton` or `torch`. Raises ValueError for another
    value, or for `native` or `triton` where there is none that can be used.
    """
    _choice.cache_clear()
    if wanted(device) == "triton":
        return "triton" if triton_kernel() is not None else "torch"
    kernel = compiled_kernel() if device == "cpu" else None
    return "torch" if kernel is None else f"native ({kernel.vectors})"


def prepare() -> None:
    """Load the kernel, so that what is wrong with it shows before anything is written. Raises ValueError as `engine` does."""
    engine()


@lru_cache(maxsize=1)
def _choice() -> str:
    """Return INITDSL_KERNEL, kept until `engine` is asked: to read it takes as long as to fill a hundred elements.

    Raises ValueError.
    """
    choice = os.environ.get("INITDSL_KERNEL", "")
    if choice not in ("", "native", "triton", "torch"):
        raise ValueError(f"INITDSL_KERNEL must be native, triton or torch, not {choice}")
    return choice


def wanted(device: str) -> str:
    """Return which engine is to fill on a kind of device: `native`, `triton` or `torch`. Raises ValueError."""
    choice = _choice()
    if choice == "triton":  # on a CPU too, by Triton's interpreter
        return choice
    if device == "cuda":
        return "torch" if choice == "torch" else "triton"
    return choice or "native"


def compiled_kernel() -> Kernel | None:
    """Return the kernel; None where it is switched off, or can't be used, which is said once."""
    choice = _choice()
    if choice not in ("", "native"):
        return None
    kernel = _loaded()
    if isinstance(kernel, Kernel):
        return kernel
    if choice == "native":
        raise ValueError(f"INITDSL_KERNEL is native, but {kernel}")
    warn(str(kernel))
    return None


def silent_kernel() -> Kernel | None:
    """Return the kernel as `compiled_kernel` does, for what torch does as well without it: nothing is said where it isn't there."""
    if os.environ.get("INITDSL_KERNEL", "") not in ("", "native"):
        return None
    kernel = _loaded()
    return kernel if isinstance(kernel, Kernel) else None


def triton_kernel() -> ModuleType | None:
    """Return the module that fills by Triton; None where Triton is not there."""
    try:
        from . import device_kernel  # Triton takes half a second to load
    except Exception as error:  # of another version, or a damaged one, anything may come
        if _choice() == "triton":
            raise ValueError(f"INITDSL_KERNEL is triton, but Triton can't be imported ({first_line(error)})") from None
        if not isinstance(error, ModuleNotFoundError):
            warn(f"Triton can't be imported ({first_line(error)})")
        return None
    return device_kernel


@lru_cache(maxsize=1)
def _loaded() -> Kernel | KernelError:
    try:
        return load()
    except KernelError as error:
        return error


@lru_cache(maxsize=8)
def warn(problem: str) -> None:
    """Say once that torch's operations fill, and why."""
    warnings.warn(f"{problem}: torch's operations fill in its place, slower and with the same values", stacklevel=4)
