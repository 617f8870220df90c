"""What torch draws from its global generator on a CPU, by the compiled kernel: the same numbers, several times as fast.

torch draws one number after the other. `torch_draws.c` draws them in vectors, rounds where torch rounds, and leaves the
generator as torch leaves it. Whether it does so with this torch, on this machine, is tried once in a process: where a bit
is another one, torch draws. So it is for all but float32 tensors that lie in one piece, and for few numbers.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.overrides import _get_current_function_mode
from torch.utils._python_dispatch import _get_current_dispatch_mode

from initdsl.initializers.distributions import Distribution, Normal, Uniform
from initdsl.initializers.filling import fill

from .backend import silent_kernel
from .native import Kernel
from .tensors import count_writes, is_ready
from .threads import spread_jobs

__all__ = ["LEAST_DRAWN", "draw_as_torch", "kind_of_torch"]


# as few numbers as torch draws in the time that it takes to read and set its generator, and to try what is drawn
LEAST_DRAWN, LEAST_TO_TRY = 1 << 13, 1 << 16

# as few elements as torch makes normals of one by one
LEAST_NORMAL = 16

# the length of a state of torch's generator in bytes, and of its beginning, which every draw changes: which word is next,
# and the first words
STATE, SEEN = 5056, 64

# elements that a thread takes at a time, in whole groups of 16, and from how many on a second thread is worth it
PART, THREADS_FROM = 1 << 18, 1 << 22

# `enum kind` of the kernel, and which of them may be torch's for a kind of distribution
UNIFORM, UNIFORM_WITH_HIGH, NORMAL, NORMAL_OF_UNIFORMS = range(4)
KINDS: dict[type, tuple[int, ...]] = {Uniform: (UNIFORM, UNIFORM_WITH_HIGH), Normal: (NORMAL,)}

# torch refuses bounds that are farther from each other
WIDEST = 1e38

# held from reading torch's generator to setting it
_LOCK = threading.Lock()


def draw_as_torch(tensors: Sequence[Tensor], distribution: Distribution) -> bool:
    """Fill tensors one after the other as `normal_` or `uniform_` would; return whether it was done.

    Where it was not, no number is drawn, and what the tensors hold is undefined: `normal_` and `uniform_` are to fill them.
    """
    wanted = type(distribution)
    if wanted not in KINDS or (count := sum(map(Tensor.numel, tensors))) < LEAST_DRAWN:
        return False
    kernel = silent_kernel()
    if kernel is None or not kernel.draws_as_torch or not _takes(tensors, distribution) or _is_watched():
        return False
    if (kernel, wanted) not in _tried:
        if count < LEAST_TO_TRY:
            return False
        _tried[kernel, wanted] = kind_of_torch(kernel, wanted)
    kind = _tried[kernel, wanted]
    if kind is None:
        return False
    with _LOCK:
        if not _drawn(kernel, kind, tensors, distribution, torch.default_generator):
            return False
    count_writes(tensors)
    return True


def _takes(tensors: Sequence[Tensor], distribution: Distribution) -> bool:
    """Return whether numbers of a distribution can be drawn into these."""
    fewest = 1
    if isinstance(distribution, Normal):
        fewest = LEAST_NORMAL
        if not distribution.std >= 0:
            return False
    elif isinstance(distribution, Uniform) and not -WIDEST <= distribution.low <= distribution.high <= WIDEST:
        return False
    return all(tensor.dtype is torch.float32 and tensor.numel() >= fewest and is_ready(tensor) for tensor in tensors)


def _is_watched() -> bool:
    """Return whether a mode is on that is to see what torch is asked to do, or does it otherwise."""
    return _get_current_dispatch_mode() is not None or _get_current_function_mode() is not None  # type: ignore[no-untyped-call]


def _drawn(
    kernel: Kernel, kind: int, tensors: Sequence[Tensor], distribution: Distribution, generator: torch.Generator
) -> bool:
    """Draw from a generator; return whether that was done, which is not so if another thread drew from it meanwhile."""
    after = generator.get_state()
    state = after.data_ptr()
    if after.numel() != STATE:
        return False
    before = ctypes.string_at(state, SEEN)
    a, b = _numbers(distribution)
    if kind == NORMAL and len(tensors) == 1 and tensors[0].numel() >= THREADS_FROM and torch.get_num_threads() > 1:
        _draw_shared(kernel, tensors[0], a, b, state)
    else:
        _draw(kernel, kind, tensors, a, b, state)
    now = generator.get_state()
    if ctypes.string_at(now.data_ptr(), SEEN) != before:
        return False
    generator.set_state(after)
    return True


def _numbers(distribution: Distribution) -> tuple[float, float]:
    """Return what the kernel draws with: bounds, or mean and standard deviation."""
    if isinstance(distribution, Uniform):
        return distribution.low, distribution.high
    assert isinstance(distribution, Normal)
    return distribution.mean, distribution.std


def _draw(kernel: Kernel, kind: int, tensors: Sequence[Tensor], a: float, b: float, state: int) -> None:
    count = len(tensors)
    addresses = (ctypes.c_void_p * count)(*map(Tensor.data_ptr, tensors))
    lengths = (ctypes.c_int64 * count)(*map(Tensor.numel, tensors))
    kernel.torch_draws(kind, count, addresses, lengths, a, b, state)


def _draw_shared(kernel: Kernel, tensor: Tensor, mean: float, std: float, state: int) -> None:
    """Draw normals on several threads: each takes the next uniforms, which one after the other are drawn, for itself."""
    address, count = tensor.data_ptr(), tensor.numel()

    def call(kind: int, first: int, length: int, a: float, b: float, state: int | None) -> None:
        place, number = ctypes.c_void_p(address + 4 * first), ctypes.c_int64(length)
        kernel.torch_draws(kind, 1, ctypes.byref(place), ctypes.byref(number), a, b, state)

    def parts() -> Iterator[tuple[int, int]]:
        for first in range(0, count, PART):
            length = min(PART, count - first)
            call(UNIFORM, first, length, 0.0, 1.0, state)
            yield first, length

    def finish(first: int, length: int) -> None:
        call(NORMAL_OF_UNIFORMS, first, length, mean, std, None)

    spread_jobs(finish, parts(), torch.get_num_threads())
    if count % LEAST_NORMAL:
        call(NORMAL, count - LEAST_NORMAL, LEAST_NORMAL, mean, std, state)


# ---- whether the numbers are torch's


# what is drawn to see that: a first number of elements, then some that leave a part of a group
TRIED = (1 << 13, 1001, 16)

TRIED_WITH: dict[type, tuple[Distribution, ...]] = {
    Uniform: (Uniform(-0.7, 1.6), Uniform(2.0**20, 2.0**20 + 1)),  # the second one rounds to its upper bound
    Normal: (Normal(0.3, 0.7),),
}


# by kernel and kind of distribution, what draws torch's numbers; None where nothing does
_tried: dict[tuple[Kernel, type], int | None] = {}


def kind_of_torch(kernel: Kernel, wanted: type) -> int | None:
    """Return what of the kernel draws as this torch does from such distributions, None where nothing does."""
    return next((kind for kind in KINDS[wanted] if _is_torchs(kernel, kind, wanted)), None)


def _is_torchs(kernel: Kernel, kind: int, wanted: type) -> bool:
    """Return whether the kernel draws what torch draws, bit by bit, and leaves its generator as torch does."""
    ours, theirs = torch.Generator(), torch.Generator()
    for distribution in TRIED_WITH[wanted]:
        for count in TRIED:
            mine, other = torch.empty(2, count, device="cpu", dtype=torch.float32).unbind()
            if not _drawn(kernel, kind, [mine], distribution, ours):
                return False
            fill(other, distribution, theirs)
            if not torch.equal(mine.view(torch.int32), other.view(torch.int32)):
                return False
            if not torch.equal(ours.get_state(), theirs.get_state()):
                return False
    return True
