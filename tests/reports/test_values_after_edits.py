"""The column of values shows what comes of the rules, edits included."""

from __future__ import annotations

import pytest
from torch import nn

import initdsl
from initdsl.reports.table import resolved


@pytest.mark.parametrize(
    ("rules", "shown"),
    [
        ("Linear.weight ~ normal(0, 0.02); Linear.weight *= 0.1", "normal(0, 0.002)"),
        ("Linear.weight ~ uniform(-1, 1); Linear.weight += 2", "uniform(1, 3)"),
        ("Linear.weight ~ kaiming_normal(); Linear.weight /= 2", "normal(0, 0.353553)"),
        ("Linear.weight = 1; Linear.weight *= 0.5; Linear.weight -= 2", "-1.5"),
        ("let s = 4\nLinear.weight = 1 / s; Linear.weight /= s", "0.0625"),
        ("Linear.weight ~ normal(0, 1); Linear.weight *= 0.5; Linear.weight[0] = 0", "normal(0, 0.5)"),
        ("Linear.weight ~ normal(0, 0.02); Linear.weight[0] *= 2", "normal(0, 0.02), changed"),
        ("Linear.weight ~ normal(0, 0.02); Linear.weight *= abs(weight) > 1", "normal(0, 0.02), changed"),
        ("Linear.weight ~ normal(0, 0.02)", ""),
        ("keep Linear.weight; Linear.weight *= 2", ""),
    ],
)
def test_values(rules: str, shown: str) -> None:
    plan = initdsl.plan(nn.Linear(4, 3), f"{rules}; Linear.bias = 0")
    assert resolved(plan["weight"]) == shown
    assert not shown or shown in str(plan)
