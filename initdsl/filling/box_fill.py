"""Actions carried out on a box of a tensor, in which an element needs no other: with the values of `apply`, bit for bit."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch

from initdsl.initializers import Constant, Random
from initdsl.planning.plan import Action, CopyFrom, Expression, Load, PlanEntry, Value

from .boxes import Part, Place, selected
from .execute import Execution, Values

__all__ = ["PartExecution"]


class PartExecution(Execution):
    """A run that has boxes of tensors at hand."""

    def act_on(self, entry: PlanEntry, part: Part, shape: tuple[int, ...], action: Action) -> None:
        """Carry out an action of `Scope.ELEMENT` on a box of a tensor, or of a view of it, of this shape."""
        found = selected(part, action.index, shape)
        if found is None:
            return
        piece, place = found
        payload = action.payload
        if isinstance(payload, Value):
            self.assign(entry, piece, action, payload)
        elif isinstance(payload, Random | Constant):
            self.distribute(entry, piece, payload, action, place=place)
        elif isinstance(payload, CopyFrom):
            piece.copy_(self.share(payload.tensor, part))
        elif isinstance(payload, Load):
            piece.copy_(self.reader.tensor(payload, place.index))
        else:
            assert isinstance(payload, Expression)
            self.express(entry, piece, action, payload, _PartValues(self, entry, action, piece, part, place))

    @abstractmethod
    def share(self, tensor: int, part: Part) -> torch.Tensor:
        """The values of another tensor where a box lies."""


class _PartValues(Values):
    """Names with the values of the tensors on one box."""

    place: Place

    def __init__(
        self, run: PartExecution, entry: PlanEntry, action: Action, piece: torch.Tensor, part: Part, place: Place
    ):  # fmt: skip
        work = torch.float64 if piece.dtype == torch.float64 else torch.float32
        super().__init__(run, entry, action, piece, piece, work)
        self.parted, self.part, self.place = run, part, place

    def read(self, tensor: int) -> Any:
        values = self.parted.share(tensor, self.part)
        return self._steadied(values.to(device=self._piece_now.device, dtype=self.work))

    def extent(self, d: int, size: int) -> range:
        return self.place.spans[d]
