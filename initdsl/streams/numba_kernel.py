"""The optional compiled kernel: what `streams` does in torch calls, in one pass over the memory and with the same bits.

It compiles when it is imported, which takes two to five seconds. Nothing is cached on disk: numba's cache is a pickle, and
does not notice a changed constant of another module. Neither fast-math nor contraction of a product and a sum is allowed here; both would change bits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba
import numpy as np

from .lines import DROP, SHIFT

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Rows = NDArray[np.float32]  # two-dimensional and contiguous
    Table = NDArray[np.float32]

__all__ = ["affine", "choice", "lines"]


_BLOCK = 2048  # elements: the words of a block stay in the first-level cache


# the finalizer of `keys`
_S30, _S27, _S31 = np.uint64(30), np.uint64(27), np.uint64(31)
_M1, _M2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)

_MASK64 = (1 << 64) - 1


@numba.njit(nogil=True, fastmath=False, error_model="numpy", inline="always")
def _words(block: Any, start: Any, gamma: Any) -> None:
    for j in range(block.shape[0]):
        z = start + np.uint64(j) * gamma
        z = (z ^ (z >> _S30)) * _M1
        z = (z ^ (z >> _S27)) * _M2
        block[j] = z ^ (z >> _S31)


@numba.njit(nogil=True, fastmath=False, error_model="numpy", inline="always")
def _held(x: Any, low: Any, high: Any) -> Any:
    x = low if x < low else x
    return high if x > high else x


@numba.njit("void(f4[::1], i8, u8, u8, f4, f4, f4, f4)", nogil=True, fastmath=False, error_model="numpy")
def _affine(out: Any, skip: Any, start: Any, gamma: Any, step: Any, middle: Any, low: Any, high: Any) -> None:
    block = np.empty(_BLOCK // 2, np.uint64)
    lanes = block.view(np.int32)
    done = 0
    while done < out.shape[0]:
        count = min(_BLOCK - skip, out.shape[0] - done)
        _words(block[: (count + skip + 1) // 2], start, gamma)
        start += np.uint64(_BLOCK // 2) * gamma
        source, target = lanes[skip : skip + count], out[done : done + count]
        for k in range(count):
            target[k] = _held(np.float32(source[k]) * step + middle, low, high)
        done += count
        skip = 0


@numba.njit("void(f4[::1], i8, u8, u8, i8, f4, f4)", nogil=True, fastmath=False, error_model="numpy")
def _choice(out: Any, skip: Any, start: Any, gamma: Any, last: Any, low: Any, high: Any) -> None:
    block = np.empty(_BLOCK // 2, np.uint64)
    lanes = block.view(np.int32)
    done = 0
    while done < out.shape[0]:
        count = min(_BLOCK - skip, out.shape[0] - done)
        _words(block[: (count + skip + 1) // 2], start, gamma)
        start += np.uint64(_BLOCK // 2) * gamma
        source, target = lanes[skip : skip + count], out[done : done + count]
        for k in range(count):
            target[k] = high if np.int64(source[k]) <= last else low
        done += count
        skip = 0


@numba.njit("void(f4[::1], i8, u8, u8, f4[::1], f4[::1], f4, f4)", nogil=True, fastmath=False, error_model="numpy")
def _lines(out: Any, skip: Any, start: Any, gamma: Any, intercepts: Any, slopes: Any, low: Any, high: Any) -> None:
    bounded = not (np.isinf(low) and np.isinf(high))
    block = np.empty(_BLOCK // 2, np.uint64)
    lanes = block.view(np.int32)
    position = np.empty(_BLOCK, np.float32)
    shape = position.view(np.int32)
    index = np.empty(_BLOCK, np.uint32)
    half, drop, shift = np.float32(0.5), np.int32(DROP), np.int32(SHIFT)
    done = 0
    while done < out.shape[0]:
        count = min(_BLOCK - skip, out.shape[0] - done)
        _words(block[: (count + skip + 1) // 2], start, gamma)
        start += np.uint64(_BLOCK // 2) * gamma
        # Loops of one kind each, from 0: the compiler makes vectors of all but the look-up.
        for k in range(skip + count):
            position[k] = np.float32(lanes[k]) + half
        for k in range(skip + count):
            index[k] = np.uint32((shape[k] >> drop) + shift)
        source, number, target = position[skip : skip + count], index[skip : skip + count], out[done : done + count]
        for k in range(count):
            at = np.uint64(number[k])
            target[k] = source[k] * slopes[at] + intercepts[at]
        if bounded:
            for k in range(count):
                target[k] = _held(target[k], low, high)
        done += count
        skip = 0


@numba.njit("void(f4[:, ::1], i8, i8, u8, u8, f4, f4, f4, f4)", nogil=True, fastmath=False, error_model="numpy")
def _affine_rows(
    out: Any, offset: Any, step: Any, state: Any, gamma: Any, scale: Any, middle: Any, low: Any, high: Any
) -> None:
    for row in range(out.shape[0]):
        first = state + np.uint64(offset >> 1) * gamma
        _affine(out[row], offset & 1, first, gamma, scale, middle, low, high)
        offset += step


@numba.njit("void(f4[:, ::1], i8, i8, u8, u8, i8, f4, f4)", nogil=True, fastmath=False, error_model="numpy")
def _choice_rows(out: Any, offset: Any, step: Any, state: Any, gamma: Any, last: Any, low: Any, high: Any) -> None:
    for row in range(out.shape[0]):
        first = state + np.uint64(offset >> 1) * gamma
        _choice(out[row], offset & 1, first, gamma, last, low, high)
        offset += step


@numba.njit(
    "void(f4[:, ::1], i8, i8, u8, u8, f4[::1], f4[::1], f4, f4)", nogil=True, fastmath=False, error_model="numpy"
)
def _lines_rows(
    out: Any, offset: Any, step: Any, state: Any, gamma: Any, intercepts: Any, slopes: Any, low: Any, high: Any
) -> None:
    for row in range(out.shape[0]):
        first = state + np.uint64(offset >> 1) * gamma
        _lines(out[row], offset & 1, first, gamma, intercepts, slopes, low, high)
        offset += step


def affine(
    out: Rows, offset: int, step: int, state: int, gamma: int, scale: float, middle: float, low: float, high: float
) -> None:
    """Write uniform numbers into the rows of a contiguous float32 array.

    The first element has the logical index `offset`, that of each further row `step` more than of the one before.
    """
    words = np.uint64(state & _MASK64), np.uint64(gamma)
    _affine_rows(out, offset, step, *words, *map(np.float32, (scale, middle, low, high)))


def choice(out: Rows, offset: int, step: int, state: int, gamma: int, last: int, low: float, high: float) -> None:
    """Write one of two values, likewise."""
    words = np.uint64(state & _MASK64), np.uint64(gamma)
    _choice_rows(out, offset, step, *words, np.int64(last), np.float32(low), np.float32(high))


def lines(
    out: Rows, offset: int, step: int, state: int, gamma: int, intercepts: Table, slopes: Table, low: float, high: float
) -> None:
    """Write numbers from a quantile function of line segments, likewise."""
    words = np.uint64(state & _MASK64), np.uint64(gamma)
    _lines_rows(out, offset, step, *words, intercepts, slopes, np.float32(low), np.float32(high))
