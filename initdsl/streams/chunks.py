"""A tensor filled chunk by chunk, on one thread or several, in memory that does not grow with it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from initdsl.text.failures import out_of_memory

from .backend import compiled_kernel
from .buffers import Buffers
from .keys import StreamKey
from .lanes import Positions
from .native import Kernel, prepared
from .on_device import filled_by_triton
from .recipes import Recipe
from .threads import LEAST_CHUNK, SHARE_FROM, shared, spread, thread_state
from .values import write

__all__ = ["fill_in_chunks"]


# Elements generated at a time. On a CPU the buffers stay in the cache; several threads hand the interpreter's lock to
# each other, the less often the larger their chunks are.
_CPU_CHUNK, _SHARED_CHUNK = 1 << 17, 1 << 19
_DEVICE_CHUNK = 1 << 24

# Below this size it is cheaper to scale the segments an element needs than all of them.
_SMALL = 1 << 15


class Piece(NamedTuple):
    """Part of a tensor: the element at coordinates `c` has the place `offset + sum(steps[d] * c[d])` in the stream."""

    view: Tensor
    steps: tuple[int, ...]
    offset: int


class Job(NamedTuple):
    """One fill: what is drawn, from which stream, and by what means."""

    key: StreamKey
    recipe: Recipe
    precision: torch.dtype  # values are computed in float32 or float64
    small: bool  # so few elements that their segments are scaled alone
    kernel: Kernel | None
    chunk: int  # elements generated at a time
    threads: int  # that share the chunks
    alone: bool = False  # whether the kernel may use no other thread either


def fill_in_chunks(tensor: Tensor, recipe: Recipe, key: StreamKey, steps: tuple[int, ...], offset: int) -> None:
    """Fill a tensor that has elements; `steps` and `offset` say where in the stream each is.

    Where memory runs out, the fill is taken up again with less of it, as nobody can undo what was written.
    """
    job, piece = _job(tensor, recipe, key), _ordered(tensor, steps, offset)
    if filled_by_triton(*piece, recipe, key, small=job.small):
        return
    if job.kernel is not None:
        torch.autograd.graph.increment_version(tensor)  # a write by the kernel is not seen by autograd
    while True:
        try:
            _fill(piece, job)
            return
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            thread_state.reserve = None
            if job.chunk <= LEAST_CHUNK:
                raise
        job = job._replace(chunk=max(LEAST_CHUNK, job.chunk >> 4), threads=1, alone=True)


def _job(tensor: Tensor, recipe: Recipe, key: StreamKey) -> Job:
    count, device = tensor.numel(), tensor.device.type
    precision = torch.float64 if tensor.dtype == torch.float64 else torch.float32
    # scaling single segments is done in float64, which not every accelerator has
    small = count < _SMALL and device not in ("mps", "xpu")
    if device != "cpu":
        return Job(key, recipe, precision, small, None, _DEVICE_CHUNK, 1)
    kernel = compiled_kernel() if type(tensor) is Tensor else None
    threads = torch.get_num_threads() if count >= SHARE_FROM else 1
    chunk = _CPU_CHUNK if threads == 1 else min(_SHARED_CHUNK, max(_CPU_CHUNK, -(-count // threads)))
    return Job(key, recipe, precision, small, kernel, chunk, threads)


def _ordered(tensor: Tensor, steps: tuple[int, ...], offset: int) -> Piece:
    """Return the whole tensor, its dimensions from the largest step to the smallest, joined where they count on."""
    if tensor.ndim == 1:
        return Piece(tensor, steps, offset)
    dims = sorted(
        ((step, n, stride) for step, n, stride in zip(steps, tensor.shape, tensor.stride(), strict=True) if n > 1),
        key=lambda dim: -dim[0],
    )
    joined: list[tuple[int, int, int]] = []
    for step, n, stride in dims:
        if joined and joined[-1][0] == step * n and joined[-1][2] == stride * n:
            joined[-1] = (step, n * joined[-1][1], stride)
        else:
            joined.append((step, n, stride))
    view = tensor.as_strided([n for _, n, _ in joined], [stride for _, _, stride in joined])
    return Piece(view, tuple(step for step, _, _ in joined), offset)


def _fill(whole: Piece, job: Job) -> None:
    view = whole.view
    if job.kernel is not None and view.is_contiguous():
        _compiled(view, whole, job, view.numel())
        return
    pieces = _cut(whole, job.chunk)
    if job.threads == 1:
        buffers = Buffers(job.key, view.device)
        for piece in pieces:
            _write(piece, job, buffers)
        return

    # Each thread its own chunks, not all threads on each operation: those would wait for one another after each.
    def worker() -> Callable[[Piece], None]:
        buffers = Buffers(job.key, view.device, thread_state.buffers)
        return lambda piece: _write(piece, job, buffers)

    shared(pieces, worker, min(job.threads, -(-view.numel() // job.chunk)))


def _cut(piece: Piece, chunk: int) -> Iterator[Piece]:
    """Yield parts of at most `chunk` elements that together are the piece."""
    view, steps, offset = piece
    if view.numel() <= chunk:
        yield piece
        return
    inner = view.numel() // view.shape[0]
    rows = max(1, chunk // inner)
    for row in range(0, view.shape[0], rows):
        start = offset + row * steps[0]
        if inner <= chunk:
            yield Piece(view[row : row + rows], steps, start)
        else:
            yield from _cut(Piece(view[row], steps[1:], start), chunk)


def _write(piece: Piece, job: Job, buffers: Buffers) -> None:
    """Generate the values of one piece, in place where its memory is what values are computed in."""
    view = piece.view
    dtype = job.precision if job.kernel is None else view.dtype
    direct = view.dtype == dtype and view.is_contiguous()
    out = view.view(-1) if direct else buffers.take("values", view.numel(), dtype)
    if job.kernel is not None:
        _compiled(out, piece, job, 0)
    else:
        write(out, _positions(piece), job.recipe, job.key, buffers, scaled_alone=job.small)
    if not direct:
        view.copy_(out.view(view.shape))


def _compiled(out: Tensor, piece: Piece, job: Job, shared_elements: int) -> None:
    """Let the kernel write the values of a piece to contiguous memory; threads share what is worth it."""
    kernel, address = job.kernel, out.data_ptr()
    assert kernel is not None
    ready = prepared(kernel, job.recipe, out.dtype, out.numel())  # here, so that no two threads make one table
    lengths, steps, offset = _positions(piece)
    row = out.itemsize * math.prod(lengths[1:])

    def part(first: int, end: int) -> None:
        positions = Positions((end - first, *lengths[1:]), steps, offset + first * steps[0])
        kernel.fill_places(address + first * row, positions, ready, job.key)

    spread(part, lengths[0], 0 if job.alone else shared_elements)


def _positions(piece: Piece) -> Positions:
    return Positions.merged(piece.view.shape, piece.steps, piece.offset)
