"""`default` of many modules: what is done for each does not look through all of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from torch import nn

from initdsl.filling.execute import execute
from initdsl.planning.make import make_plan_of


class Counted(tuple[Any, ...]):
    """Values that count how often they are gone through."""

    times = 0

    def __iter__(self) -> Iterator[Any]:
        Counted.times += 1
        return super().__iter__()


def times_gone_through(modules: int, seed: int | None) -> int:
    net = nn.Sequential(*(nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)) for _ in range(modules)))
    plan, live = make_plan_of(net, "default net", seed=seed)
    Counted.times = 0
    execute(replace(plan, entries=Counted(plan.entries), order=Counted(plan.order)), live)
    return Counted.times


@pytest.mark.parametrize("seed", [None, 0])
def test_the_entries_are_gone_through_as_often_for_many_modules_as_for_few(seed: int | None) -> None:
    assert times_gone_through(40, seed) == times_gone_through(4, seed)
