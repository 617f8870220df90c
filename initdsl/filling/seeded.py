"""Seeded fills: which stream, and which elements of it, a piece of a tensor takes.

The values of a draw depend on the seed, the parameter's name, the rule and the element's place in the whole parameter.
What stacks on values that are there (`+= normal(0, 1)`) has streams of its own, counted over the drawing edits of that
parameter alone, so that a rule that draws nothing moves nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from initdsl import streams
from initdsl.initializers import Distribution
from initdsl.language.expressions.shapes import window
from initdsl.planning.actions import Action, Expression
from initdsl.planning.locality import draws

from .random_state import isolated, unmoved

if TYPE_CHECKING:
    import torch

    from initdsl.initializers import Initializer
    from initdsl.planning.plan import Plan, PlanEntry

    from .boxes import Place

__all__ = ["Draws", "Seeded"]


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


class Seeded:
    """The streams of one seed, for the entries of one plan."""

    def __init__(self, seed: int, plan: Plan):
        self.seed = seed
        self.plan = plan
        self._numbers: dict[int, tuple[PlanEntry, dict[int, int]]] = {}

    # ---- which stream

    def number(self, entry: PlanEntry, action: Action, nth: int) -> int:
        """The draw's number among those of its parameter: 0 and up for what sets values, from 2**20 for the edits."""
        known = self._numbers.get(id(entry))
        if known is None:
            clauses: dict[int, int] = {}
            for each in entry.actions:
                number = each.clause.number
                if number not in clauses and self._stacks(each) and draws(each):
                    clauses[number] = len(clauses) + 1
            known = self._numbers[id(entry)] = (entry, clauses)
        return known[1].get(action.clause.number, 0) * PER_EDIT + nth

    def _stacks(self, action: Action) -> bool:
        """Whether an action's values build on those there are."""
        if action.operator not in ("=", "~"):
            return True
        return isinstance(action.payload, Expression) and action.payload.reads_itself

    def key(self, entry: PlanEntry, action: Action, nth: int) -> streams.StreamKey:
        return streams.key(self.seed, entry.name, self.number(entry, action, nth))

    # ---- filling

    def fill(
        self, entry: PlanEntry, piece: torch.Tensor, what: Distribution, action: Action, nth: int,
        place: Place | None = None,
    ) -> None:  # fmt: skip
        """Fill what an action's index selects, or the part of it at `place`, every element from its own place."""
        if place is not None:
            offset, strides = place.offset, place.strides
        else:
            offset, strides = window(action.view or entry.tensor.shape, action.index)
        streams.fill(piece, what, self.key(entry, action, nth), offset=offset, strides=strides)

    def run(
        self, entry: PlanEntry, piece: torch.Tensor, initializer: Initializer, arguments: dict[str, Any],
        action: Action, nth: int,
    ) -> Any:  # fmt: skip
        """Call a whole-tensor initializer with a generator that is the piece's own; global generators stay untouched."""
        number = self.number(entry, action, nth)
        name = entry.name
        if math.prod(action.shape) != entry.tensor.numel:
            offset, _ = window(action.view or entry.tensor.shape, action.index)
            name = f"{name}\0{offset}\0{list(action.shape)}"
        if initializer.builtin:
            generator = {"generator": Draws(self.seed, name, number)} if initializer.takes_generator else {}
            return initializer.function(piece, **arguments, **generator)
        extra = {}
        if initializer.takes_generator:
            extra["generator"] = streams.generator(streams.key(self.seed, name, number), piece.device)
        with unmoved():
            return initializer.function(piece, **arguments, **extra)

    # ---- defaults

    @contextmanager
    def resetting(self, name: str) -> Iterator[None]:
        """The global generators seeded for one module's own `reset_parameters`, and put back after it."""
        with isolated(streams.key(self.seed, f"{name}.<default>")):
            yield
