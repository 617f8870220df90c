"""Memory for the intermediate numbers of a fill."""

from __future__ import annotations

import torch
from torch import Tensor

from .keys import StreamKey, signed

__all__ = ["Buffers", "Memory"]


Memory = dict[tuple[str, torch.dtype], Tensor]  # one-dimensional tensors by purpose and dtype


class Buffers:
    """What one thread writes intermediate numbers to during one fill, so that memory doesn't grow with the tensor.

    `memory` is what the thread keeps from an earlier fill: new memory costs as much as filling it.
    """

    def __init__(self, key: StreamKey, device: torch.device, memory: Memory | None = None) -> None:
        self.device = device
        self._gamma = key.gamma
        self._memory: Memory = {} if memory is None else memory
        self._multiples: Tensor | None = None

    def take(self, purpose: str, count: int, dtype: torch.dtype) -> Tensor:
        """Return `count` elements whose values are whatever was last written there for this purpose."""
        buffer = self._memory.get((purpose, dtype))
        if buffer is None or buffer.numel() < count:
            buffer = self._memory[purpose, dtype] = torch.empty(count, dtype=dtype, device=self.device)
        return buffer if buffer.numel() == count else buffer[:count]

    def multiples(self, count: int) -> Tensor:
        """Return 0, gamma, 2 gamma and so on, which all chunks of a fill have in common."""
        if self._multiples is None or self._multiples.numel() < count:
            whole = torch.arange(count, out=self.take("multiples", count, torch.int64), device=self.device)
            self._multiples = whole.mul_(signed(self._gamma))
        return self._multiples if self._multiples.numel() == count else self._multiples[:count]
