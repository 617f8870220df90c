"""Two tensors compared piece by piece."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch

from initdsl.statistics.moments import mean_and_std

__all__ = ["Difference"]


@dataclass
class Difference:
    """How a tensor differs from what it should be, summed up piece by piece."""

    count: int = 0
    elements: int = 0
    largest: float = 0.0
    squares: float = 0.0
    wanted_squares: float = 0.0
    sums: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0, 0.0])

    def add(self, values: torch.Tensor, wanted: torch.Tensor) -> None:
        wanted = wanted.to(values.dtype)  # a file may hold a shorter dtype than the network
        same = (values == wanted) | (values.isnan() & wanted.isnan())
        x, y = values.double(), wanted.double()
        self.elements += x.numel()
        for place, total in enumerate((x.sum(), (x * x).sum(), y.sum(), (y * y).sum())):
            self.sums[place] += float(total)
        self.wanted_squares = self.sums[3]
        if bool(same.all()):
            return
        self.count += int((~same).sum())
        away = (x - y)[~same].abs()
        self.largest = max(self.largest, float(away.max())) if not bool(away.isnan().any()) else math.nan
        self.squares += float((away * away).sum())

    @property
    def measured(self) -> dict[str, float]:
        return mean_and_std(self.sums[0], self.sums[1], self.elements)

    @property
    def expected(self) -> dict[str, float]:
        return mean_and_std(self.sums[2], self.sums[3], self.elements)

    @property
    def moved(self) -> dict[str, float]:
        norm = math.sqrt(self.wanted_squares)
        distance = math.sqrt(self.squares) if not math.isnan(self.squares) else math.nan
        return {
            "moved": float(self.count > 0), "share": self.count / max(1, self.elements), "largest": self.largest,
            "distance": distance / norm if norm else (math.inf if distance else 0.0),
            "rms": math.sqrt(self.squares / max(1, self.elements)) if distance == distance else math.nan,
        }  # fmt: skip

    def message(self, numel: int) -> str:
        share = f"{self.count} of {numel} elements differ" if numel > 1 else "its element differs"
        return f"{share}, the farthest by {self.largest:.3g}"
