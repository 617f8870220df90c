"""The values that rules make, for tensors of a network without memory, where some are taken from what is stored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

import torch

from initdsl.filling.to_disk.origin import Origin
from initdsl.network.description import Live
from initdsl.planning.plan import Plan

__all__ = ["RuleValues"]


class RuleValues(Origin):
    """What makes the values; the tensors `taken` from the store (by index) are read and not made again."""

    def __init__(self, plan: Plan, live: Live, state: Mapping[str, torch.Tensor], taken: frozenset[int]):
        super().__init__(plan, live, state)
        self.taken = taken

    def _with(self, number: int) -> set[int]:
        return super()._with(number) - (self.taken - {number})

    def given(self, number: int) -> bool:
        return number in self.taken or super().given(number)

    def add(self, name: str, number: int, tensor: torch.Tensor) -> None:
        """Make a further tensor of the network too, by its name and index."""
        self.state = {**self.state, name: tensor}
        self.numbers[name] = number

    @contextmanager
    def under_seed(self, seed: int) -> Iterator[None]:
        """Make values as another seed does, in the block."""
        plan = self.plan
        self.release()
        self.plan = replace(plan, seed=seed)
        try:
            yield
        finally:
            self.release()
            self.plan = plan
