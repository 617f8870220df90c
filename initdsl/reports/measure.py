"""What a model's tensors hold, for the pages of reports."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from initdsl.filling.read import tensor_of
from initdsl.network.description import Live
from initdsl.statistics.measures import Measure
from initdsl.statistics.moments import measure

if TYPE_CHECKING:
    from initdsl.planning.plan import Plan

__all__ = ["measures_of"]


# tensors with a histogram each; of more, the first of every folded group's would be lost in the size of the page
MOST_HISTOGRAMS = 4000


def measures_of(plan: Plan, live: Live) -> dict[int, Measure]:
    """Return what every tensor of a carried out plan holds now, by index; those without memory are left out."""
    measures = {}
    # of very many tensors, some have a histogram, so that what is folded is drawn from those
    step = max(1, len(plan.entries) // MOST_HISTOGRAMS)
    with torch.no_grad():
        for number, entry in enumerate(plan.entries):
            tensor = tensor_of(live, entry)
            if tensor is None or tensor.is_meta or tensor.layout != torch.strided or tensor.is_complex():
                continue
            measures[entry.tensor.index] = measure(tensor, histogram=number % step == 0)
    return measures
