"""What of a tensor's values its rules determine, element by element, and by which of their actions.

An edit builds on what is there. Where no rule sets that (`keep net.weight; net.weight *= 2`), the rules don't say what
comes of it, and there is nothing to compare.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from initdsl.initializers import Distribution, Random
from initdsl.planning.actions import Action, Reset
from initdsl.planning.drawing import moves
from initdsl.planning.elements import cover
from initdsl.planning.plan import PlanEntry
from initdsl.statistics.predicted import scaled_by

__all__ = ["UNKNOWN", "Making", "Sources", "is_determined", "is_drawn", "sources_of"]


# the number of elements that the rules don't determine
UNKNOWN = -1


@dataclass(frozen=True)
class Making:
    """What makes an element: the action that sets it, and the edits on top."""

    base: Action
    edits: tuple[Action, ...] = ()

    @property
    def is_drawn(self) -> bool:
        """Whether chance has a part in it."""
        return any(is_drawn(action) for action in (self.base, *self.edits))

    @property
    def distribution(self) -> Distribution | None:
        """What such elements follow, where one distribution says it all."""
        return scaled_by(self.base.payload, self.edits) if isinstance(self.base.payload, Random) else None


def is_drawn(action: Action) -> bool:
    """Return whether chance has a part in what an action writes."""
    constant = isinstance(action.payload, Random) and action.payload.std == 0
    return isinstance(action.payload, Reset) or (action.draws and not constant)


@dataclass(frozen=True)
class Sources:
    """By what each element of a tensor is made: `numbers` has its shape and the place in `makings`, or UNKNOWN."""

    numbers: torch.Tensor
    makings: Sequence[Making]

    @property
    def unknown(self) -> int:
        """How many elements the rules don't determine."""
        return int((self.numbers == UNKNOWN).sum())

    def cut(self, extents: Sequence[range]) -> torch.Tensor:
        """Return the numbers of a box of the tensor."""
        return self.numbers[tuple(slice(extent.start, extent.stop) for extent in extents)]


def is_determined(entry: PlanEntry) -> bool:
    """Return whether the rules determine every element of an entry that they write to."""
    if entry.base is not None and not entry.base.keeps:
        return True
    setting = [action for action in entry.edits if not action.builds_on_values]
    return cover(setting, entry.shape) and not any(moves(action) for action in entry.edits)


def sources_of(entry: PlanEntry) -> Sources:
    """Return by which actions each element of an entry is made."""
    makings: list[Making] = []
    known: dict[object, int] = {}

    def number(making: Making) -> int:
        """Return the place of what makes elements alike."""
        key = (making.base.payload, tuple((edit.operator, edit.payload) for edit in making.edits))
        if key not in known:
            known[key] = len(makings)
            makings.append(making)
        return known[key]

    numbers = torch.full(entry.shape, UNKNOWN, dtype=torch.int32)
    for action in entry.actions:
        if action.keeps:
            continue
        piece = numbers.view(action.view or entry.shape)
        piece = piece if action.index is None else piece[action.index]
        if not action.builds_on_values:
            piece[...] = number(Making(action))
        elif moves(action) and bool((numbers == UNKNOWN).any()):
            piece[...] = UNKNOWN
        else:
            for place in torch.unique(piece).tolist():
                if place != UNKNOWN:
                    making = makings[place]
                    piece[piece == place] = number(Making(making.base, (*making.edits, action)))
    return Sources(numbers, makings)
