"""Seeded fills: which stream, and which elements of it, a piece of a tensor takes.

The values of a draw depend on the seed, the parameter's name, the rule and the element's place in the whole parameter.
Which of the parameter's streams an action draws from stands in the plan (`planning/drawing.py`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from initdsl import streams
from initdsl.initializers import Arguments, Distribution, Initializer
from initdsl.language.expressions.shapes import window
from initdsl.planning.actions import Action
from initdsl.planning.plan import PlanEntry

from .boxes import Window
from .random_state import isolated, torch_isolated, unmoved

__all__ = ["Draws", "call_seeded", "fill_seeded", "fill_whole_streams", "resetting"]


class Draws:
    """What the package's whole-tensor initializers draw from under a seed: `count` streams of a piece, each used once."""

    def __init__(self, seed: int, name: str, first: int, count: int):
        self.seed, self.name, self.next, self.end = seed, name, first, first + count

    def fill(self, tensor: torch.Tensor, distribution: Distribution) -> torch.Tensor:
        """Fill a tensor from the next stream, and return it."""
        assert self.next < self.end, "it draws from more streams than `streams=` says"
        streams.fill(tensor, distribution, streams.key(self.seed, self.name, self.next))
        self.next += 1
        return tensor


def fill_seeded(
    seed: int,
    entry: PlanEntry,
    action: Action,
    piece: torch.Tensor,
    distribution: Distribution,
    stream: int,
    part: Window | None = None,
) -> None:
    """Fill all that an action writes, or the `part` of it, every element from its own place in a stream of the action."""
    offset, strides = 0, None
    if part is not None:
        offset, strides = part.offset, part.strides
    elif action.view is not None or action.index is not None:
        offset, strides = window(action.view or entry.tensor.shape, action.index)
    key = streams.key(seed, entry.name, action.stream + stream)
    streams.fill(piece, distribution, key, offset=offset, strides=strides)


def fill_whole_streams(
    seed: int, action: Action, entries: Sequence[PlanEntry], tensors: Sequence[torch.Tensor]
) -> None:
    """Fill whole tensors that get one action, each from the stream of its entry's name, as `fill_seeded` does one by one."""
    assert isinstance(action.payload, Distribution)
    keys = streams.keys_of(seed, [entry.name for entry in entries], action.stream)
    streams.fill_each(tensors, action.payload, keys)


def call_seeded(
    seed: int,
    entry: PlanEntry,
    action: Action,
    piece: torch.Tensor,
    initializer: Initializer,
    arguments: Arguments,
    stream: int,
) -> Any:
    """Return what a whole-tensor initializer returns, called with a generator of the piece's own.

    Raises RuntimeError if it draws from a global generator.
    """
    number = action.stream + stream
    name = entry.name
    if math.prod(action.shape) != entry.tensor.numel:
        offset, _ = window(action.view or entry.tensor.shape, action.index)
        name = f"{name}\0{offset}\0{list(action.shape)}"
    if action.stream_strides is not None:
        name = f"{name}\0{list(action.stream_strides)}"
    if initializer.builtin:
        generator = {"generator": Draws(seed, name, number, initializer.streams)} if initializer.takes_generator else {}
        return initializer.function(piece, **arguments, **generator)
    extra = {}
    if initializer.takes_generator:
        extra["generator"] = streams.generator(streams.key(seed, name, number), piece.device)
    with unmoved():
        return initializer.function(piece, **arguments, **extra)


def resetting(seed: int | None, name: str, *, of_torch: bool = False) -> AbstractContextManager[object]:
    """Seed the global generators for the own reset of the module of this name, and put them back after it.

    Without a seed, leave them running. A reset `of_torch` draws from torch's alone.
    """
    if seed is None:
        return nullcontext()
    key = streams.key(seed, f"{name}.<default>")
    return torch_isolated(key) if of_torch else isolated(key)
