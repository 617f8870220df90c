"""Random streams addressed by element: any element of any parameter can be computed alone, with the same bits.

The definition, *stream v1*, is written down with test vectors in `docs/streams.md` and never changes silently. Three
things keep its bits the same on every device, thread count and torch release:

- words come from integer arithmetic;
- the floating-point steps are single roundings of `+ - * /`, `sqrt` and conversions, each one its own torch call, so
  that no compiler can contract two of them;
- what a distribution needs beyond these (the normal distribution function) is computed in decimal arithmetic.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from operator import attrgetter

import numpy as np
import torch
from torch import Tensor
from torch.autograd.graph import increment_version
from torch.nn import Parameter

from initdsl.initializers.distributions import Constant, Distribution, of_part
from initdsl.language.expressions.shapes import row_major

from .backend import compiled_kernel
from .chunks import fill_in_chunks
from .keys import StreamKey
from .native import DTYPES, LARGE_FROM, Memory, prepared, prepared_for_few
from .recipes import recipe_of
from .threads import spread

__all__ = ["count_writes", "fill", "fill_each", "is_ready"]


# elements that no second thread is worth
_SMALL = 1 << 17


PLAIN = (Tensor, Parameter)


def fill(
    tensor: Tensor,
    distribution: Distribution,
    key: StreamKey,
    *,
    offset: int = 0,
    strides: Sequence[int] | None = None,
) -> None:
    """Write a distribution into `tensor`, in place, each element from its own place in the stream.

    The element at coordinates `c` has the logical index `offset + sum(strides[d] * c[d])` in the whole parameter,
    counted row-major; the default strides are the row-major ones of the tensor's own shape. Any strided layout; the
    dtypes float32, float64, bfloat16 and float16. A half-type value is the float32 value, rounded. A complex tensor is
    filled as the real one of its parts, which has one dimension more, of size 2. Values stay in the distribution's bounds
    (`[low, high)` for Uniform) also after rounding, if the dtype has a number there.

    Raises TypeError for another dtype or layout, ValueError for strides that don't fit the shape, a negative index,
    a tensor whose elements share memory or that has none (meta), and parameters that no distribution has.
    """
    if strides is None and _at_once(tensor, distribution, key, offset):
        return
    if tensor.is_complex() and not tensor.is_meta and not isinstance(distribution, Constant):
        strides = row_major(tensor.shape) if strides is None else strides
        doubled = [*(2 * step for step in strides), 1]
        fill(torch.view_as_real(tensor.detach()), of_part(distribution), key, offset=2 * offset, strides=doubled)
        return
    steps = _checked_steps(tensor, offset, strides)
    with torch.no_grad():
        tensor = tensor.detach()
        if isinstance(distribution, Constant):
            tensor.fill_(distribution.value)
            return
        recipe = recipe_of(distribution, tensor.dtype)
        if _is_fake(tensor):
            tensor.zero_()
        elif tensor.numel():
            fill_in_chunks(tensor, recipe, key, steps, offset)


def fill_each(tensors: Sequence[Tensor], distribution: Distribution, keys: np.ndarray) -> None:
    """Write a distribution into several tensors, each from the beginning of its own stream, as `fill` does one by one.

    All are of one dtype, and `is_ready` says yes to each; `keys` has a row for each, see `keys_of`. They go to the kernel at
    once, and the threads share them.
    """
    kernel, dtypes = compiled_kernel(), set(map(attrgetter("dtype"), tensors))
    if kernel is None or len(dtypes) != 1 or isinstance(distribution, Constant):
        for tensor, row in zip(tensors, keys.tolist(), strict=True):
            fill(tensor, distribution, StreamKey(*row))
        return
    (dtype,) = dtypes
    lengths = np.fromiter(map(Tensor.numel, tensors), np.int64, len(tensors))
    elements = int(lengths.sum())
    ready = prepared(kernel, recipe_of(distribution, dtype), dtype, elements)
    memory = Memory(np.fromiter(map(Tensor.data_ptr, tensors), np.uint64, len(tensors)), lengths, keys)
    spread(lambda first, end: kernel.fill_each(memory, ready, first, end), len(tensors), elements)
    count_writes(tensors)


def count_writes(tensors: Sequence[Tensor]) -> None:
    """Tell autograd that tensors were written to, which it does not see where the kernel does it."""
    try:
        increment_version(tensors)
    except (TypeError, AttributeError, RuntimeError):  # torch 2.4 takes them one by one
        for tensor in tensors:
            increment_version(tensor)


def _at_once(tensor: Tensor, distribution: Distribution, key: StreamKey, offset: int) -> bool:
    """Fill what most small tensors are, with as little Python as may be; return whether it was done.

    That is a contiguous tensor on the CPU, by the compiled kernel. All others, and what is wrong, are left to others.
    """
    count = tensor.numel()
    if offset < 0 or not 0 < count < _SMALL or type(distribution) is Constant or not is_ready(tensor):
        return False
    kernel = compiled_kernel()
    if kernel is None:
        return False
    try:
        if count < LARGE_FROM:
            ready = prepared_for_few(kernel, distribution, tensor.dtype)
        else:
            ready = prepared(kernel, recipe_of(distribution, tensor.dtype), tensor.dtype, count)
    except MemoryError:  # for a table
        return False
    kernel.fill(tensor.data_ptr(), count, ready, key, offset)
    increment_version(tensor)  # a write by the kernel is not seen by autograd
    return True


def is_ready(tensor: Tensor) -> bool:
    """Return whether the kernel can write a tensor's elements one after the other: plain memory of a dtype that it knows."""
    return (
        type(tensor) in PLAIN
        and tensor.is_cpu
        and tensor.layout is torch.strided
        and tensor.dtype in DTYPES
        and tensor.is_contiguous()
        and not tensor.is_neg()
        and not tensor.is_inference()
        and tensor.untyped_storage().nbytes() > 0
    )


def _is_fake(tensor: Tensor) -> bool:
    """Return whether a tensor stands for one without having values (torch's FakeTensor)."""
    module = sys.modules.get("torch._subclasses.fake_tensor")
    return module is not None and isinstance(tensor, module.FakeTensor)


def _is_freed(tensor: Tensor) -> bool:
    """Return whether a tensor with elements has no memory, as FSDP leaves parameters that it does not need."""
    return not tensor.untyped_storage().nbytes()


def _checked_steps(tensor: Tensor, offset: int, strides: Sequence[int] | None) -> tuple[int, ...]:
    """Return the step in the stream of each dimension; refuse a tensor that can't be filled."""
    if tensor.layout != torch.strided:
        raise TypeError(f"only a strided tensor can be filled, not one of layout {tensor.layout}")
    if tensor.dtype not in DTYPES:
        raise TypeError(
            f"a tensor of dtype {tensor.dtype} cannot be filled; allowed: float32, float64, bfloat16, float16"
        )
    if tensor.is_meta:
        raise ValueError("a tensor on the meta device has no memory to fill")
    if type(tensor) in PLAIN and tensor.numel() and _is_freed(tensor):
        raise ValueError("a tensor whose storage was freed has no memory to fill")
    shape = tensor.shape
    if strides is None:
        steps = row_major(shape)
    else:
        steps = tuple(strides)
        if len(steps) != len(shape):
            raise ValueError(f"{len(steps)} strides were given for a tensor of {len(shape)} dimensions")
    if offset < 0 or any(step < 0 for step in steps):
        raise ValueError("offset and strides must not be negative")
    if any(n > 1 and stride == 0 for n, stride in zip(shape, tensor.stride(), strict=True)):
        raise ValueError("an expanded tensor cannot be filled: its elements share memory")
    return steps


if sys.byteorder != "little":  # halves of a word are taken by their place in memory
    raise ImportError("initdsl.streams needs a little-endian machine")
