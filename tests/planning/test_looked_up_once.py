"""What is looked up once: rules that are planned again, tensors that are alike, and selectors that mean the same everywhere."""

from __future__ import annotations

from typing import Any

import pytest
from torch import nn

import initdsl
from initdsl.language.syntax.nodes import Number
from initdsl.language.syntax.walk import remembered
from initdsl.planning import payloads


class Block(nn.Module):
    def __init__(self, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(layers))


def net() -> nn.Module:
    return nn.ModuleDict({"h": nn.ModuleList([Block(2), Block(3), Block(2)])})


def bindings(rules: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """How often a call is bound while rules are planned."""
    bound: list[Any] = []
    bind = payloads.bind_call
    monkeypatch.setattr(payloads, "bind_call", lambda *a: (bound.append(a), bind(*a))[1])
    initdsl.plan(net(), rules)
    return len(bound)


def test_a_function_remembers_by_the_object() -> None:
    calls: list[Number] = []

    @remembered
    def seen(node: Number) -> int:
        calls.append(node)
        return len(calls)

    one, other = Number(1), Number(1)
    assert [seen(one), seen(other), seen(one), seen(other)] == [1, 2, 1, 2]
    assert [seen(Number(n)) for n in range(100)] == list(range(3, 103))  # none stands where another was


@pytest.mark.parametrize(
    ("rules", "most"),
    [
        ("Linear.weight ~ normal(0, 1 / len(net.h))", 1),
        ("let depth = len(Block); Linear.weight ~ normal(0, 1 / depth)", 1),
        ("Linear.weight ~ normal(0, 1 / in_features)", 7),
        ("net.h[i].layers[j].weight ~ normal(0, 1 / (i + j + 1))", 7),
    ],
)
def test_what_a_rule_draws_is_bound_for_a_kind_of_tensor(
    rules: str, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert 0 < bindings(rules, monkeypatch) <= most


def test_what_an_index_counts_is_counted_for_each() -> None:
    plan = initdsl.plan(net(), "net.h[i].layers[*].weight ~ normal(0, 1 / len(net.h[i].layers))")
    assert [plan[f"h.{n}.layers.0.weight"].distribution.std for n in range(3)] == [1 / 2, 1 / 3, 1 / 2]
    plan = initdsl.plan(net(), "Block { .layers[*].weight ~ normal(0, 1 / len(net.h)) }")
    assert [plan[f"h.{n}.layers.0.weight"].distribution.std for n in range(3)] == [1 / 3] * 3


def test_a_rule_that_selects_nothing_counts_nothing() -> None:
    """Else `1 / len(...)` of what is not there were a division by zero."""
    with pytest.warns(initdsl.UncoveredParameterWarning):
        initdsl.apply(net(), "Other.weight? ~ normal(0, 1 / len(Other))")
    with pytest.raises(initdsl.InitDSLError, match="division by zero"):
        initdsl.plan(net(), "Linear.weight ~ normal(0, 1 / len(Other))")
