"""Streams written into a tensor, chunk by chunk."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from copy import copy

import torch
from torch import Tensor

from initdsl.text.failures import out_of_memory

from .backend import compiled_kernel
from .keys import StreamKey, mix, signed
from .lines import DROP, SHIFT, device_segments, quantile_lines
from .quantile import normal_quantile
from .recipes import Affine, Choice, Quantile, Recipe
from .threads import LEAST_CHUNK, SHARE_FROM, shared, spread, thread_state

__all__ = ["Filler"]


# Elements generated at a time. On a CPU the buffers stay in the cache; several threads hand the interpreter's lock to
# each other, the less often the larger their chunks are.
_CPU_CHUNK, _SHARED_CHUNK = 1 << 17, 1 << 19


_DEVICE_CHUNK = 1 << 24


# Below this size it is cheaper to scale the segments an element needs than all of them.
_SMALL = 1 << 15


# ----------------------------------------------------------------------------------------------------- filling


Leaf = tuple[Tensor, list[int], int]


class Filler:
    """One fill: cuts the tensor into chunks and generates each; owns the buffers, whatever the tensor's size."""

    def __init__(self, key: StreamKey, recipe: Recipe, tensor: Tensor) -> None:
        self.key, self.recipe, self.tensor = key, recipe, tensor
        self.device = tensor.device
        self.double = tensor.dtype == torch.float64
        self.precision = torch.float64 if self.double else torch.float32
        on_cpu = self.device.type == "cpu"
        self.chunk = _CPU_CHUNK if on_cpu else _DEVICE_CHUNK
        # scaling single segments is done in float64, which not every accelerator has
        self.small = tensor.numel() < _SMALL and self.device.type not in ("mps", "xpu")
        compilable = on_cpu and not self.double and not self.small
        self.kernel = compiled_kernel(tensor.numel()) if compilable else None
        self.alone = False
        self.steps: Tensor | None = None
        self.buffers: dict[tuple[str, torch.dtype], Tensor] = {}

    def fill(self, lengths: list[int], steps: list[int], offset: int) -> None:
        """Fill the whole tensor; a fill that runs out of memory is taken up again with less, as nobody can undo it."""
        while True:
            try:
                self.walk(lengths, steps, offset)
                return
            except (MemoryError, RuntimeError) as error:
                if not out_of_memory(error) or not self.spares():
                    raise

    def spares(self) -> bool:
        """Go on with less memory: one thread, smaller chunks. Returns whether that is less than before."""
        thread_state.reserve = None
        if self.chunk <= LEAST_CHUNK:
            return False
        self.alone, self.chunk, self.steps = True, max(LEAST_CHUNK, self.chunk >> 4), None
        self.buffers.clear()
        return True

    def walk(self, lengths: list[int], steps: list[int], offset: int) -> None:
        """Fill the whole tensor, dimensions ordered from the slowest logical index to the fastest."""
        dims = sorted(
            ((step, n, memory) for step, n, memory in zip(steps, lengths, self.tensor.stride(), strict=True) if n > 1),
            key=lambda dim: -dim[0],
        )
        merged: list[tuple[int, int, int]] = []
        for step, n, memory in dims:
            if merged and merged[-1][0] == step * n and merged[-1][2] == memory * n:
                merged[-1] = (step, n * merged[-1][1], memory)
            else:
                merged.append((step, n, memory))
        view = self.tensor.as_strided([n for _, n, _ in merged], [m for _, _, m in merged])
        self.block(view, [step for step, _, _ in merged], offset)

    def block(self, view: Tensor, steps: list[int], offset: int) -> None:
        if self.kernel is not None and view.is_contiguous() and view.dtype == torch.float32 and _rows(steps):
            self.compiled(view, offset, steps)
            return
        on_many = self.device.type == "cpu" and view.numel() >= SHARE_FROM and not self.alone
        threads = torch.get_num_threads() if on_many else 1
        if threads > 1:
            self.chunk = min(_SHARED_CHUNK, max(self.chunk, -(-view.numel() // threads)))
        leaves = self.leaves(view, steps, offset)
        if threads == 1:
            for leaf in leaves:
                self.leaf(*leaf)
            return
        # Each thread its own chunks, not all threads on each operation: those would wait for one another after each.

        def worker() -> Callable[[Leaf], None]:
            filler = copy(self)
            # a helper keeps them for its next fill: new memory costs as much as filling it
            filler.buffers, filler.steps = thread_state.buffers, None
            return lambda leaf: filler.leaf(*leaf)

        shared(leaves, worker, min(threads, -(-view.numel() // self.chunk)))

    def leaves(self, view: Tensor, steps: list[int], offset: int) -> Iterator[Leaf]:
        """The view in parts of at most a chunk, with their logical steps and offsets."""
        if view.numel() <= self.chunk:
            yield view, steps, offset
            return
        inner = view.numel() // view.shape[0]
        rows = max(1, self.chunk // inner)
        for row in range(0, view.shape[0], rows):
            if inner <= self.chunk:
                yield view[row : row + rows], steps, offset + row * steps[0]
            else:
                yield from self.leaves(view[row], steps[1:], offset + row * steps[0])

    def leaf(self, view: Tensor, steps: list[int], offset: int) -> None:
        direct = view.dtype == self.precision and view.is_contiguous()
        out = view.view(-1) if direct else self.buffer("out", view.numel(), self.precision)
        lengths, steps = _merge(list(view.shape), steps)
        if self.kernel is not None and _rows(steps):
            self.compiled(out.view(lengths), offset, steps)
        else:
            self.write(out, lengths, steps, offset)
        if not direct:
            view.copy_(out.view(view.shape))

    def buffer(self, name: str, count: int, dtype: torch.dtype) -> Tensor:
        have = self.buffers.get((name, dtype))
        if have is None or have.numel() < count:
            have = self.buffers[name, dtype] = torch.empty(count, dtype=dtype, device=self.device)
        return have[:count]

    # -- positions

    def lanes(self, lengths: list[int], steps: list[int], offset: int, state: int) -> Tensor:
        """The 32-bit lane of each element, as an int32 tensor of one dimension (a buffer's memory)."""
        count = math.prod(lengths)
        if steps == [1]:
            first, skip = offset >> 1, offset & 1
            m = (count + skip + 1) >> 1
            if self.steps is None or self.steps.numel() < m:
                self.steps = torch.arange(m, out=self.buffer("steps", m, torch.int64), device=self.device)
                self.steps.mul_(signed(self.key.gamma))
            z = self.buffer("words", m, torch.int64)
            torch.add(self.steps[:m], signed(state + first * self.key.gamma), out=z)
            return mix(z, self.buffer("spare", m, torch.int64)).view(torch.int32)[skip : skip + count]
        if len(steps) == 2 and steps[1] == 1 and not steps[0] & 1 and lengths[1] >= 8:
            return self.rows_of_lanes(lengths, steps[0], offset, state)
        index = torch.full((), offset, dtype=torch.int64, device=self.device)
        for n, step in zip(lengths, steps, strict=True):
            index = index.unsqueeze(-1) + torch.arange(n, dtype=torch.int64, device=self.device) * step
        index = index.reshape(-1)
        z = (index >> 1).mul_(signed(self.key.gamma)).add_(signed(state))
        mix(z, self.buffer("spare", count, torch.int64))
        halves = z.view(torch.int32).view(count, 2)
        return torch.where((index & 1).bool(), halves[:, 1], halves[:, 0])

    def rows_of_lanes(self, lengths: list[int], step: int, offset: int, state: int) -> Tensor:
        """The lanes of rows that begin an even number of elements apart: within each, words count on."""
        rows, count = lengths
        first, skip = offset >> 1, offset & 1
        m = (count + skip + 1) >> 1
        gamma = self.key.gamma
        starts = torch.arange(rows, dtype=torch.int64, device=self.device).mul_(signed((step >> 1) * gamma))
        starts.add_(signed(state + first * gamma))
        along = torch.arange(m, dtype=torch.int64, device=self.device).mul_(signed(gamma))
        z = self.buffer("words", rows * m, torch.int64)
        torch.add(starts[:, None], along, out=z.view(rows, m))
        mix(z, self.buffer("spare", rows * m, torch.int64))
        return z.view(torch.int32).view(rows, 2 * m)[:, skip : skip + count].reshape(-1)

    # -- values

    def write(self, out: Tensor, lengths: list[int], steps: list[int], offset: int) -> None:
        if self.double:
            self.write_double(out, lengths, steps, offset)
            return
        recipe = self.recipe
        lane = self.lanes(lengths, steps, offset, self.key.state)
        if isinstance(recipe, Choice):
            self.choose(out, lane, recipe)
            return
        out.copy_(lane)
        if isinstance(recipe, Affine):
            out.mul_(recipe.step)
            if recipe.middle:
                out.add_(recipe.middle)
            out.clamp_(recipe.low, recipe.high)
            return
        out.add_(0.5)
        index = self.buffer("spare", (out.numel() + 1) >> 1, torch.int64).view(torch.int32)[: out.numel()]
        torch.bitwise_right_shift(out.view(torch.int32), DROP, out=index)
        index.add_(SHIFT)
        if self.small:
            intercepts, slopes = device_segments(recipe.alpha, recipe.beta, self.device)
            out.mul_(slopes.index_select(0, index).mul_(recipe.scale).to(torch.float32))
            out.add_(intercepts.index_select(0, index).mul_(recipe.scale).add_(recipe.loc).to(torch.float32))
        else:
            lines = quantile_lines(recipe, self.device)
            picked = self.buffer("words", (out.numel() + 2) >> 1, torch.int64).view(torch.float32)[: out.numel()]
            out.mul_(torch.index_select(lines.slopes, 0, index, out=picked))
            out.add_(torch.index_select(lines.intercepts, 0, index, out=picked))
        if not math.isinf(recipe.low) or not math.isinf(recipe.high):
            out.clamp_(recipe.low, recipe.high)

    def write_double(self, out: Tensor, lengths: list[int], steps: list[int], offset: int) -> None:
        recipe = self.recipe
        if isinstance(recipe, Choice):
            self.choose(out, self.lanes(lengths, steps, offset, self.key.state), recipe)
            return
        coarse = self.lanes(lengths, steps, offset, self.key.state).to(torch.int64)
        fine = self.lanes(lengths, steps, offset, self.key.fine).to(torch.int64)
        position = (coarse << 32) | (fine & 0xFFFFFFFF)
        out.copy_(position)
        if isinstance(recipe, Affine):
            out.mul_(recipe.step).add_(recipe.middle)
        else:
            out.add_(0.5).mul_(2.0**-64)
            z = normal_quantile(out, recipe.alpha, recipe.beta)
            torch.mul(z, recipe.scale, out=out).add_(recipe.loc)
        if not math.isinf(recipe.low) or not math.isinf(recipe.high):
            out.clamp_(recipe.low, recipe.high)

    def choose(self, out: Tensor, lane: Tensor, recipe: Choice) -> None:
        if recipe.last < -(2**31):  # below every lane, and no number of 32 bits
            out.fill_(recipe.low)
            return
        chosen = torch.le(lane, recipe.last)
        out.fill_(recipe.low)
        out.masked_fill_(chosen, recipe.high)

    # -- the compiled kernel

    def compiled(self, out: Tensor, offset: int, steps: list[int]) -> None:
        """Fill contiguous memory of one dimension or two, within whose rows elements count on."""
        assert self.kernel is not None
        kernel, recipe, key = self.kernel, self.recipe, self.key
        row = steps[0] if len(steps) == 2 else 1
        array = out.numpy()
        torch.autograd.graph.increment_version(self.tensor)  # a write through numpy is not seen by autograd
        tables = (
            tuple(part.numpy() for part in quantile_lines(recipe, self.device)) if isinstance(recipe, Quantile) else ()
        )

        def part(a: int, b: int) -> None:
            rows = array[a:b] if array.ndim == 2 else array[None, a:b]
            where = rows, offset + a * row, row, key.state, key.gamma
            if isinstance(recipe, Affine):
                kernel.affine(*where, *recipe)
            elif isinstance(recipe, Choice):
                kernel.choice(*where, *recipe)
            else:
                kernel.lines(*where, *tables, recipe.low, recipe.high)

        spread(part, len(array), 0 if self.alone else out.numel())


def _merge(lengths: list[int], steps: list[int]) -> tuple[list[int], list[int]]:
    """Join dimensions that together count on without a gap; steps are in falling order."""
    merged: list[tuple[int, int]] = []
    for n, step in zip(lengths, steps, strict=True):
        if n == 1:
            continue
        if merged and merged[-1][1] == step * n:
            merged[-1] = (merged[-1][0] * n, step)
        else:
            merged.append((n, step))
    return ([n for n, _ in merged], [step for _, step in merged]) if merged else ([1], [1])


def _rows(steps: list[int]) -> bool:
    """Whether elements count on along the last dimension, of one or two."""
    return 1 <= len(steps) <= 2 and steps[-1] == 1
