"""Seeded fills: which stream, and which elements of it, a piece of a tensor takes.

The values of a draw depend on the seed, the parameter's name, the rule and the element's place in the whole parameter.
What stacks on values that are there (`+= normal(0, 1)`) has streams of its own, counted over the drawing edits of that
parameter alone, so that a rule that draws nothing moves nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch

from initdsl import streams
from initdsl.initializers import Arguments, Distribution, Initializer
from initdsl.language.expressions.shapes import window
from initdsl.planning.actions import Action
from initdsl.planning.plan import Plan, PlanEntry

from .boxes import Window
from .random_state import isolated, unmoved

__all__ = ["Draws", "Streams", "call_seeded", "fill_seeded", "resetting", "streams_of"]


# draws of one edit; the next one's start above them
PER_EDIT = 1 << 20


class Draws:
    """What the package's whole-tensor initializers draw from under a seed: streams of one piece, each used once."""

    def __init__(self, seed: int, name: str, first: int):
        self.seed, self.name, self.next = seed, name, first

    def fill(self, tensor: torch.Tensor, distribution: Distribution) -> torch.Tensor:
        """Fill a tensor from the next stream, and return it."""
        streams.fill(tensor, distribution, streams.key(self.seed, self.name, self.next))
        self.next += 1
        return tensor


@dataclass(frozen=True)
class Streams:
    """The streams of one seed for the tensors of one plan: `Streams(7, {3: {12: 1}})`.

    `edits` numbers from 1, for each tensor by its number, the clauses (by theirs) that draw on top of values.
    """

    seed: int
    edits: Mapping[int, Mapping[int, int]] = field(default_factory=dict)


def streams_of(plan: Plan) -> Streams | None:
    """Return the streams of a plan's seed, None without one."""
    if plan.seed is None:
        return None
    return Streams(plan.seed, {entry.tensor.index: _edits(entry) for entry in plan.entries if entry.edits})


def _edits(entry: PlanEntry) -> dict[int, int]:
    drawing = dict.fromkeys(a.clause.number for a in entry.actions if a.builds_on_values and a.draws)
    return {clause: number for number, clause in enumerate(drawing, 1)}


def _stream_number(seeded: Streams, entry: PlanEntry, action: Action, nth: int) -> int:
    """Return a draw's number among those of its parameter: 0 and up for what sets values, from 2**20 for the edits."""
    return seeded.edits.get(entry.tensor.index, {}).get(action.clause.number, 0) * PER_EDIT + nth


def fill_seeded(
    seeded: Streams,
    entry: PlanEntry,
    action: Action,
    piece: torch.Tensor,
    distribution: Distribution,
    nth: int,
    part: Window | None = None,
) -> None:
    """Fill all that an action writes, or the `part` of it, every element from its own place in the stream."""
    if part is not None:
        offset, strides = part.offset, part.strides
    else:
        offset, strides = window(action.view or entry.tensor.shape, action.index)
    key = streams.key(seeded.seed, entry.name, _stream_number(seeded, entry, action, nth))
    streams.fill(piece, distribution, key, offset=offset, strides=strides)


def call_seeded(
    seeded: Streams,
    entry: PlanEntry,
    action: Action,
    piece: torch.Tensor,
    initializer: Initializer,
    arguments: Arguments,
    nth: int,
) -> Any:
    """Return what a whole-tensor initializer returns, called with a generator of the piece's own.

    Raises RuntimeError if it draws from a global generator.
    """
    number = _stream_number(seeded, entry, action, nth)
    name = entry.name
    if math.prod(action.shape) != entry.tensor.numel:
        offset, _ = window(action.view or entry.tensor.shape, action.index)
        name = f"{name}\0{offset}\0{list(action.shape)}"
    if initializer.builtin:
        generator = {"generator": Draws(seeded.seed, name, number)} if initializer.takes_generator else {}
        return initializer.function(piece, **arguments, **generator)
    extra = {}
    if initializer.takes_generator:
        extra["generator"] = streams.generator(streams.key(seeded.seed, name, number), piece.device)
    with unmoved():
        return initializer.function(piece, **arguments, **extra)


def resetting(seeded: Streams | None, name: str) -> AbstractContextManager[None]:
    """Seed the global generators for the own reset of the module of this name, and put them back after it.

    Without a seed, leave them running.
    """
    return nullcontext() if seeded is None else isolated(streams.key(seeded.seed, f"{name}.<default>"))
