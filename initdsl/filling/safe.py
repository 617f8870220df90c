"""What can't fail: writing numbers into memory that is there."""

from __future__ import annotations

import torch
from torch import nn

from initdsl.initializers import Bernoulli, Constant, Normal, TruncatedNormal, Uniform
from initdsl.planning.actions import Action, Kept, Value

from .boxes import memory_of
from .run import Run

__all__ = ["can_fail", "is_plain"]


def can_fail(run: Run, action: Action) -> bool:
    """Return whether an action does more than to write numbers into memory that is there."""
    if action.view is not None:
        return True
    if isinstance(action.payload, Value):
        return action.operator not in ("=", "~")
    if isinstance(action.payload, TruncatedNormal):  # torch makes tensors to draw one, streams don't
        return run.seed is None
    return not isinstance(action.payload, INFALLIBLE)


# payloads that only write numbers
INFALLIBLE = (Constant, Normal, Uniform, Bernoulli, Kept)


FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)
ORDINARY = frozenset([*FLOATS, *INTEGERS, torch.bool])


PLAIN = (torch.Tensor, nn.Parameter)


def is_plain(tensor: torch.Tensor | None) -> bool:
    """Return whether writing numbers to a tensor can't fail: plain memory, every element with its own."""
    if tensor is None:
        return False
    memory = tensor if type(tensor) in PLAIN else memory_of(tensor)
    if type(memory) not in PLAIN or memory.dtype not in ORDINARY or memory.layout != torch.strided:
        return False
    return not memory.is_inference() and (memory.is_contiguous() or 0 not in memory.stride())
