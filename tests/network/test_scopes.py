"""What a selector inside a block continues, and what it starts anew."""

from __future__ import annotations

import pytest
from torch import nn

import initdsl


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(2, 2, bias=False)
        self.rest = nn.ModuleList([nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)])


def net() -> nn.Sequential:
    return nn.Sequential(Block(), Block())


def written(rules: str) -> list[str]:
    return [entry.name for entry in initdsl.plan(net(), rules) if entry.status == "set"]


def test_a_container_that_starts_with_a_dot_continues_the_block() -> None:
    assert written("net[1] { Linear.weight in .rest = 1 }") == ["1.rest.0.weight", "1.rest.1.weight"]
    assert written("net[1] { Linear.weight not in .rest = 1 }") == ["1.first.weight"]
    assert written("net[1] { Linear.weight in (.first, .rest[1]) = 1 }") == ["1.first.weight", "1.rest.1.weight"]


def test_any_other_container_is_looked_for_in_the_whole_network() -> None:
    assert written("net[1].rest { Linear.weight in Block = 1 }") == ["1.rest.0.weight", "1.rest.1.weight"]
    assert written("net[1].rest { [0].weight in net[1] = 1 }") == ["1.rest.0.weight"]


def test_indices_of_a_container_in_a_block_are_bound() -> None:
    plan = initdsl.plan(net(), "net[i] { Linear.weight in .rest[j] = 10 * i + j }")
    assert {e.name: e.base.payload.value for e in plan if e.base} == {
        "0.rest.0.weight": 0,
        "0.rest.1.weight": 1,
        "1.rest.0.weight": 10,
        "1.rest.1.weight": 11,
    }


def test_a_container_that_is_not_in_the_block_is_named() -> None:
    for container in (".frist", "(.frist, .frist)", "(.first, .frist)"):
        with pytest.raises(initdsl.ResolveError) as raised:
            written(f"net[1] {{ Linear.weight in {container} = 1 }}")
        assert {(d.name, d.hint) for d in raised.value.diagnostics} == {("unmatched-selector", "did you mean `first`?")}
