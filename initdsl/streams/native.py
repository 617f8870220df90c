"""The compiled kernel, `kernel.c`: loaded by ctypes, which lets go of Python's lock while it fills.

`hatch_build.py` compiles it when the package is installed, and writes beside it what it was made from. A kernel that
is missing, damaged or made from another text is not loaded: torch's operations fill, with the same bits.
"""

from __future__ import annotations

import ctypes
import json
import math
import os
import struct
import sys
import zlib
from ctypes import byref, c_char_p, c_double, c_float, c_int64, c_uint64, c_void_p
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch

from initdsl.initializers.distributions import Distribution

from .keys import StreamKey
from .lanes import Positions
from .quantile import truncation
from .recipes import Affine, Choice, Quantile, Recipe, recipe_of

__all__ = [
    "DTYPES",
    "LARGE_FROM",
    "Kernel",
    "KernelError",
    "Memory",
    "Prepared",
    "load",
    "prepared",
    "prepared_for_few",
]


# where the build puts the kernel, and what says what it was made from
FOLDER = os.path.dirname(__file__)
NAME = {"win32": "kernel.dll", "darwin": "kernel.dylib"}.get(sys.platform, "kernel.so")

# what the build makes it from
SOURCES = ("compiler.h", "kernel.c", "torch_draws.c")

DTYPES = {torch.float32: 0, torch.float64: 1, torch.bfloat16: 2, torch.float16: 3}

# from so many elements on it pays to scale all segments of a quantile, and to keep them
LARGE_FROM = 1 << 13

_order = struct.Struct("<QqQQQQQ").pack  # `struct order` of the kernel

_AFFINE, _CHOICE, _LINES, _SEGMENTS, _QUANTILE = range(5)


class KernelError(Exception):
    """Why there is no compiled kernel: `no kernel was built` or the like."""


class _Truncation(ctypes.Structure):
    """`struct truncation` of the kernel."""

    _fields_ = (
        *((name, c_double) for name in ("survival", "log", "drop", "remainder")),
        *((name, c_int64) for name in ("mirrored", "cut")),
    )


class _Recipe(ctypes.Structure):
    """`struct recipe` of the kernel."""

    _fields_ = (
        *((name, c_int64) for name in ("kind", "dtype")),
        *((name, c_double) for name in ("scale", "shift", "low", "high")),
        *(("last", c_int64), ("table", c_void_p), ("truncation", _Truncation)),
    )


class Prepared(NamedTuple):
    """A recipe as the kernel reads it: held until it has."""

    address: int
    recipe: _Recipe
    table: object  # what the recipe points to, so that it stays


class Memory(NamedTuple):
    """Arrays in memory: their addresses and lengths, and of each the key of its stream, a row as `keys_of` gives them."""

    addresses: np.ndarray
    lengths: np.ndarray
    keys: np.ndarray


class Kernel:
    """A loaded kernel. `vectors` says which instructions it uses on this processor: `avx2`."""

    def __init__(self, library: ctypes.CDLL):
        self._fill, self._fill_places = library.initdsl_fill, library.initdsl_fill_places
        self._fill_each = library.initdsl_fill_each
        self.segments, self.scaled = library.initdsl_segments, library.initdsl_scaled
        stream = (c_uint64, c_uint64, c_uint64, c_uint64, c_void_p)  # offset, key, recipe
        self._fill.argtypes = (c_char_p,)
        self._fill_places.argtypes = (c_void_p, c_int64, c_void_p, c_void_p, *stream)
        self._fill_each.argtypes = (c_int64, *[c_void_p] * 4)
        self.segments.argtypes = (c_void_p, c_void_p)
        self.scaled.argtypes = (c_void_p, c_void_p, c_double, c_double)
        self.torch_draws = library.initdsl_torch_draws
        self.torch_draws.argtypes = (c_int64, c_int64, c_void_p, c_void_p, c_float, c_float, c_void_p)
        library.initdsl_draws_as_torch.restype = c_int64
        self.draws_as_torch = bool(library.initdsl_draws_as_torch())
        for function in (self.torch_draws, self._fill, self._fill_places, self._fill_each, self.segments, self.scaled):
            function.restype = None
        library.initdsl_segment_count.restype = c_int64
        library.initdsl_kernel_vectors.restype = c_char_p
        self.segment_count: int = library.initdsl_segment_count()
        self.vectors: str = library.initdsl_kernel_vectors().decode()

    def fill(self, address: int, count: int, ready: Prepared, key: StreamKey, offset: int) -> None:
        """Write `count` values to an address; the first has the place `offset` in the stream."""
        self._fill(_order(address, count, offset, *key, ready.address))

    def fill_places(self, address: int, positions: Positions, ready: Prepared, key: StreamKey) -> None:
        """Write the values at `positions` to an address, one after the other."""
        lengths, steps, offset = positions
        numbers = c_int64 * len(lengths)
        self._fill_places(address, len(lengths), numbers(*lengths), numbers(*steps), offset, *key, ready.address)

    def fill_each(self, memory: Memory, ready: Prepared, first: int, end: int) -> None:
        """Write whole streams to the arrays from `first` to `end` of those that lie in memory."""
        begin = [array.ctypes.data + first * array.strides[0] for array in memory]
        self._fill_each(end - first, *begin, ready.address)


@lru_cache(maxsize=1024)
def prepared_for_few(kernel: Kernel, distribution: Distribution, dtype: torch.dtype) -> Prepared:
    """Return a distribution as the kernel reads it to fill fewer than `LARGE_FROM` elements; it is kept.

    Raises ValueError for parameters that no distribution has.
    """
    return _ready(kernel, recipe_of(distribution, dtype), dtype)


def prepared(kernel: Kernel, recipe: Recipe, dtype: torch.dtype, count: int) -> Prepared:
    """Return a recipe for a fill of `count` elements, with the table that is cheaper for so many."""
    if count < LARGE_FROM or dtype == torch.float64 or not isinstance(recipe, Quantile):
        return _ready(kernel, recipe, dtype)
    table = _scaled_table(kernel, recipe)
    return _kept(_Recipe(_LINES, DTYPES[dtype], 0, 0, recipe.low, recipe.high, 0, ctypes.addressof(table)), table)


@lru_cache(maxsize=1024)
def _ready(kernel: Kernel, recipe: Recipe, dtype: torch.dtype) -> Prepared:
    number = DTYPES[dtype]
    if isinstance(recipe, Affine):
        return _kept(_Recipe(_AFFINE, number, recipe.step, recipe.middle, recipe.low, recipe.high))
    if isinstance(recipe, Choice):
        return _kept(_Recipe(_CHOICE, number, 0, 0, recipe.low, recipe.high, recipe.last))
    numbers = recipe.scale, recipe.loc, recipe.low, recipe.high
    if dtype == torch.float64:
        return _kept(_Recipe(_QUANTILE, number, *numbers, truncation=_truncation(recipe)))
    table = _table(kernel, recipe._replace(loc=0, scale=1, low=0, high=0))
    return _kept(_Recipe(_SEGMENTS, number, *numbers, 0, ctypes.addressof(table)), table)


def _kept(recipe: _Recipe, table: object = None) -> Prepared:
    return Prepared(ctypes.addressof(recipe), recipe, table)


@lru_cache(maxsize=8)
def _table(kernel: Kernel, recipe: Quantile) -> ctypes.Array[c_double]:
    """Return intercept and slope of each segment of a standard distribution: 512 KiB."""
    table = (c_double * (2 * kernel.segment_count))()
    kernel.segments(table, byref(_truncation(recipe)))
    return table


@lru_cache(maxsize=8)
def _scaled_table(kernel: Kernel, recipe: Quantile) -> ctypes.Array[c_float]:
    """Return the segments of a distribution, scaled and rounded: 256 KiB."""
    table = (c_float * (2 * kernel.segment_count))()
    standard = _table(kernel, recipe._replace(loc=0, scale=1, low=0, high=0))
    kernel.scaled(table, standard, recipe.scale, recipe.loc)
    return table


def _truncation(recipe: Quantile) -> _Truncation:
    if math.isinf(recipe.alpha) and math.isinf(recipe.beta):
        return _Truncation()
    return _Truncation(*truncation(recipe.alpha, recipe.beta), cut=1)


def load(folder: str | os.PathLike[str] = FOLDER) -> Kernel:
    """Return the kernel that was built into a folder. Raises KernelError where there is none that can be used."""
    try:
        built = json.loads(_content(folder, "kernel.json"))
        library, source = _content(folder, NAME), b"".join([_content(folder, name) for name in SOURCES])
    except FileNotFoundError:
        raise KernelError("no compiled kernel is installed") from None
    except (OSError, ValueError) as error:
        raise KernelError(f"the compiled kernel can't be read ({error})") from None
    if not isinstance(built, dict) or built.get("source_crc32") != checksum_of_text(source):
        raise KernelError("the compiled kernel is of another version, and has to be built anew: `pip install` does")
    if built.get("library_crc32") != zlib.crc32(library):  # a file cut short would end the process when it is loaded
        raise KernelError("the compiled kernel is damaged")
    try:
        return Kernel(ctypes.CDLL(os.path.join(folder, NAME)))
    except (OSError, AttributeError):
        raise KernelError("the compiled kernel does not fit this machine") from None


def _content(folder: str | os.PathLike[str], name: str) -> bytes:
    with open(os.path.join(folder, name), "rb") as file:
        return file.read()


def checksum_of_text(text: bytes) -> int:
    """Return what tells a text from others, however its lines end: a fast sum, as it is taken before the first fill."""
    return zlib.crc32(text.replace(b"\r\n", b"\n") if b"\r" in text else text)
