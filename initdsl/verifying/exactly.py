"""Two tensors compared piece by piece."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from initdsl.statistics.moments import Moments, joined, moments

__all__ = ["Difference"]


@dataclass
class Difference:
    """How a tensor differs from what it should be, summed up piece by piece.

    `count` elements differ, the farthest by `largest`; `squares` is the sum of the squared differences (nan where one
    of the two is nan).
    """

    count: int = 0
    largest: float = 0.0
    squares: float = 0.0
    stored: Moments = Moments()
    made: Moments = Moments()

    def add(self, values: torch.Tensor, wanted: torch.Tensor) -> None:
        """Compare a further piece, `wanted` in the dtype of `values`: a file may hold a shorter one than the network."""
        wanted = wanted.to(values.dtype)
        self.stored = joined(self.stored, moments(values))
        same = (values == wanted) | (values.isnan() & wanted.isnan())
        self.made = joined(self.made, moments(wanted))
        if bool(same.all()):
            return
        self.count += int((~same).sum())
        away = (values.double() - wanted.double())[~same].abs()
        self.largest = max(self.largest, float(away.max())) if not bool(away.isnan().any()) else math.nan
        self.squares += float((away * away).sum())

    @property
    def elements(self) -> int:
        return self.stored.count + self.stored.other

    @property
    def measured(self) -> dict[str, float]:
        """Mean and standard deviation of what is stored."""
        return _mean_and_std(self.stored)

    @property
    def expected(self) -> dict[str, float]:
        """Mean and standard deviation of what the rules make."""
        return _mean_and_std(self.made)

    @property
    def moved(self) -> dict[str, float]:
        """How far training has moved the tensor: in parts of its elements, of its norm, and as a root mean square."""
        norm = self.made.rms * math.sqrt(self.made.count) if self.made.count else 0.0
        distance = math.sqrt(self.squares)
        return {
            "moved": float(self.count > 0),
            "share": self.count / max(1, self.elements),
            "largest": self.largest,
            "distance": distance / norm if norm else (math.inf if distance else 0.0),
            "rms": math.sqrt(self.squares / max(1, self.elements)),
        }

    def message(self, numel: int) -> str:
        """Return what is wrong with a tensor of `numel` elements."""
        share = f"{self.count} of {numel} elements differ" if numel > 1 else "its element differs"
        return f"{share}, the farthest by {self.largest:.3g}"


def _mean_and_std(total: Moments) -> dict[str, float]:
    if not total.count and not total.other:
        return {}
    return {"mean": total.mean, "std": total.std} if not total.other else {"mean": math.nan, "std": math.nan}
