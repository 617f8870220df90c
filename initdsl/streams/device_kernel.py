"""Stream v1 on a GPU, in one pass over the memory, by Triton. `docs/streams.md` defines every bit of it.

The bits are those of torch's operations (`values.py`): words are integer arithmetic, and each floating-point step is one
rounding, so the kernels are launched without fusion of a product and a sum. float64 is left to torch's operations.

With TRITON_INTERPRET=1 they run on the CPU, slowly: that is how their bits are tested where there is no GPU.
"""

# no `from __future__ import annotations`: Triton reads the annotations of its kernels

import contextlib
import struct
from contextlib import AbstractContextManager

import torch
import triton
import triton.language as tl
from torch import Tensor

from .keys import StreamKey, signed
from .lines import DROP, SHIFT, device_segments, quantile_lines
from .recipes import Affine, Choice, Quantile, Recipe

__all__ = ["DTYPES", "fill"]


# what is filled, and what its memory is to the kernels
DTYPES = {torch.float32: torch.float32, torch.bfloat16: torch.int16, torch.float16: torch.float16}

_AFFINE, _CHOICE, _LINES, _SEGMENTS = range(4)

# as in `lines.py`, for the kernels
_DROP, _SHIFT = tl.constexpr(DROP), tl.constexpr(SHIFT)

# words or elements that one program computes
_BLOCK = 1024

# numbers of a fill before those of its dimensions: see `_numbers`
_HEAD = tl.constexpr(9)


def fill(view: Tensor, steps: tuple[int, ...], offset: int, recipe: Recipe, key: StreamKey, *, small: bool) -> None:
    """Write the values of a recipe into a tensor of one of `DTYPES`, whose dimensions are `steps` apart in the stream.

    `small` scales the segments that an element needs, in place of whole tables.
    """
    count = view.numel()
    kind, intercepts, slopes = _tables(recipe, view.device, small)
    dims = [] if view.is_contiguous() and steps in ((1,), ()) else [*zip(view.shape, steps, view.stride(), strict=True)]
    numbers = _numbers(count, offset, recipe, key, dims).to(view.device)
    half = view.dtype == torch.bfloat16
    out = view.view(DTYPES[view.dtype])
    arguments = out, numbers, intercepts, slopes
    options = {"KIND": kind, "HALF": half, "BLOCK": _BLOCK, "enable_fp_fusion": False}
    with _current(view.device):
        if dims:
            _places[triton.cdiv(count, _BLOCK),](*arguments, DIMS=len(dims), **options)
        else:
            _run[triton.cdiv((count + (offset & 1) + 1) >> 1, _BLOCK),](*arguments, **options)


def _current(device: torch.device) -> AbstractContextManager[object]:
    """Make a device the one that kernels are launched on."""
    return torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()


def _tables(recipe: Recipe, device: torch.device, small: bool) -> tuple[int, Tensor, Tensor]:
    """Return the kind of a recipe for the kernels, and intercepts and slopes of its segments where it has any."""
    if isinstance(recipe, Quantile):
        if small:
            return _SEGMENTS, *device_segments(recipe.alpha, recipe.beta, device)
        lines = quantile_lines(recipe, device)
        return _LINES, lines.intercepts, lines.slopes
    none = torch.empty(1, device=device)
    return (_AFFINE if isinstance(recipe, Affine) else _CHOICE), none, none


def _numbers(count: int, offset: int, recipe: Recipe, key: StreamKey, dims: list[tuple[int, int, int]]) -> Tensor:
    """Return what the kernels read, as int64: floats by their bits, then size, step and stride of each dimension from the last.

    A tensor, and not arguments: Triton compiles anew for arguments of other widths.
    """
    match recipe:
        case Affine(step, middle, low, high):
            scale, shift, last = step, middle, 0
        case Choice(last, low, high):
            scale, shift = 0.0, 0.0
        case Quantile(shift, scale, low, high):
            last = 0
    floats = [signed(int.from_bytes(struct.pack("<d", number), "little")) for number in (scale, shift, low, high)]
    places = [number for dim in reversed(dims) for number in dim]
    return torch.tensor([count, offset, signed(key.state), signed(key.gamma), last, *floats, *places], device="cpu")


# ------------------------------------------------------------------------------------------------------------ kernels


@triton.jit
def _number(numbers, place):
    return tl.load(numbers + place).to(tl.float64, bitcast=True)


@triton.jit
def _word(numbers, index):
    """Words of the stream: SplitMix64 by counter."""
    state = tl.load(numbers + 2).to(tl.uint64, bitcast=True)
    gamma = tl.load(numbers + 3).to(tl.uint64, bitcast=True)
    z = state + index.to(tl.uint64) * gamma
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB
    return z ^ (z >> 31)


@triton.jit
def _value(lane, numbers, intercepts, slopes, KIND: tl.constexpr, HALF: tl.constexpr):
    """Values at lanes, float32; of bfloat16 the bits."""
    low, high = _number(numbers, 7), _number(numbers, 8)
    if KIND == 1:
        x = tl.where(lane.to(tl.int64) <= tl.load(numbers + 4), high.to(tl.float32), low.to(tl.float32))
    else:
        scale, shift = _number(numbers, 5), _number(numbers, 6)
        if KIND == 0:
            x = lane.to(tl.float32) * scale.to(tl.float32)
            x = x + shift.to(tl.float32)
        else:
            position = lane.to(tl.float32) + 0.5
            segment = (position.to(tl.int32, bitcast=True) >> _DROP) + _SHIFT
            slope, intercept = tl.load(slopes + segment), tl.load(intercepts + segment)
            if KIND == 3:
                slope = (slope * scale).to(tl.float32)
                intercept = intercept * scale
                intercept = (intercept + shift).to(tl.float32)
            x = position * slope
            x = x + intercept
        x = tl.where(x < low.to(tl.float32), low.to(tl.float32), x)
        x = tl.where(x > high.to(tl.float32), high.to(tl.float32), x)
    if HALF:
        bits = x.to(tl.uint32, bitcast=True)
        return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).to(tl.uint16).to(tl.int16, bitcast=True)
    return x


@triton.jit
def _run(out, numbers, intercepts, slopes, KIND: tl.constexpr, HALF: tl.constexpr, BLOCK: tl.constexpr):
    """Fill contiguous memory, from words that count on: two elements of each."""
    count, offset = tl.load(numbers), tl.load(numbers + 1)
    first = tl.program_id(0).to(tl.int64) * BLOCK
    word = _word(numbers, (offset >> 1) + first + tl.arange(0, BLOCK))
    even = _value(word.to(tl.uint32).to(tl.int32, bitcast=True), numbers, intercepts, slopes, KIND, HALF)
    odd = _value((word >> 32).to(tl.uint32).to(tl.int32, bitcast=True), numbers, intercepts, slopes, KIND, HALF)
    place = 2 * first + tl.arange(0, 2 * BLOCK) - (offset & 1)
    tl.store(out + place, tl.interleave(even, odd), mask=(place >= 0) & (place < count))


@triton.jit
def _places(
    out,
    numbers,
    intercepts,
    slopes,
    KIND: tl.constexpr,
    HALF: tl.constexpr,
    DIMS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Fill any strided memory: a word for every element, and half of it used."""
    count = tl.load(numbers)
    index = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    left, address, place = index, index * 0, index * 0 + tl.load(numbers + 1)
    for d in tl.static_range(DIMS):
        size = tl.load(numbers + _HEAD + 3 * d)
        at = left % size
        left = left // size
        place += at * tl.load(numbers + _HEAD + 3 * d + 1)
        address += at * tl.load(numbers + _HEAD + 3 * d + 2)
    word = _word(numbers, place >> 1) >> (32 * (place & 1)).to(tl.uint64)
    value = _value(word.to(tl.uint32).to(tl.int32, bitcast=True), numbers, intercepts, slopes, KIND, HALF)
    tl.store(out + address, value, mask=index < count)
