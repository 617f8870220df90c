"""One action written into one tensor."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from initdsl.initializers import Initializer
from initdsl.language.expressions.functions import torch_tensor
from initdsl.language.syntax.nodes import Call
from initdsl.planning.actions import Action, Load
from initdsl.planning.names import Names
from initdsl.planning.plan import PlanEntry

if TYPE_CHECKING:
    from .boxes import Place
    from .execute import Execution

__all__ = ["Values", "piece_of"]


class Values(Names):
    """Names with the values of tensors, in the dtype expressions are computed in."""

    draws_anew = True
    place: Place | None = None  # where the piece lies, if it is not all that the action writes

    def __init__(
        self, run: Execution, entry: PlanEntry, action: Action, tensor: torch.Tensor, piece: torch.Tensor,
        work: torch.dtype,
    ):  # fmt: skip
        plan = run.plan
        resolver = plan.resolver
        resolver.lets = action.clause.lets
        super().__init__(
            run.network, resolver.matcher, resolver.registry, action.clause.lets, action.match, entry.tensor.index,
            action.shape, plan.canonical,
        )  # fmt: skip
        self.run, self.entry, self.action = run, entry, action
        self.files, self.source = resolver.files, action.clause.rule.source
        self.steady = run.seeded is not None
        self._tensor_now, self._piece_now, self.work = tensor, piece, work

    def read(self, tensor: int) -> Any:
        return self._steadied(self.run.read(tensor).to(device=self._piece_now.device, dtype=self.work))

    def whole(self) -> Any:
        return self._steadied(self._tensor_now.to(self.work))

    def piece(self) -> Any:
        return self._steadied(self._piece_now.to(self.work))

    def loaded(self, what: Load) -> Any:
        return self._steadied(self.run.reader.tensor(what).to(device=self._piece_now.device, dtype=self.work))

    def tensor(self, values: Any) -> Any:
        return torch_tensor(values, self.work, self._piece_now.device)

    def _steadied(self, value: torch.Tensor) -> torch.Tensor:
        # torch takes other code, with other last bits, for other layouts
        return value.contiguous() if self.steady else value

    def drawn(self, node: Call, initializer: Initializer, arguments: dict[str, Any]) -> Any:
        fresh = torch.empty(self._piece_now.shape, dtype=self.work, device=self._piece_now.device)
        nth, self._draws = self._draws, self._draws + 1
        if initializer.elementwise:
            what = initializer.distribution(self.action.shape, arguments)
            self.run.distribute(self.entry, fresh, what, self.action, nth, self.place)
        else:
            self.run.draw(self.entry, fresh, initializer, arguments, self.action, nth)
        return fresh


def piece_of(tensor: torch.Tensor, action: Action) -> tuple[torch.Tensor, Callable[[], Any] | None]:
    """The view an action writes to; and, where no view can be had, how to write its copy back."""
    if action.view is None:
        return (tensor if action.index is None else tensor[action.index]), None
    write_back = None
    if tensor.is_contiguous():
        seen = tensor.view(action.view)
    else:
        copy = tensor.contiguous()
        seen = copy.view(action.view)

        def write_back() -> Any:
            return tensor.copy_(copy)

    return (seen if action.index is None else seen[action.index]), write_back
