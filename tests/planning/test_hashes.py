"""Frozen values hash: as their equals do, and without a word of Python about dicts."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Hashable
from typing import Any

import pytest
from torch import nn

import initdsl
from initdsl.network.describe import describe

RULES = "let a = [1, 2]; Linear.weight ~ normal(0, 0.02); *.bias = a[0]; LayerNorm.weight = 1; let b = 3; expect net covered"


class Model(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Linear(2, 3), nn.LayerNorm(3))
        self.config = {"layers": [1, {"deep": [2]}]}


def plan(rules: str = RULES, **options: Any) -> initdsl.Plan:
    return initdsl.plan(Model(), rules, **options)


def verified() -> Any:
    net = Model()
    initdsl.apply(net, RULES, seed=0)
    return initdsl.verify(net, RULES, seed=0)


MADE: dict[str, Callable[[], Any]] = {
    "rules": lambda: initdsl.parse(RULES),
    "plan": lambda: plan(seed=0, vars={"a": [1, 2]}),
    "entry": lambda: plan()["0.weight"],
    "clause": lambda: plan().clauses[0],
    "network": lambda: describe(Model())[0],
    "module": lambda: describe(Model())[0].modules[0],
    "tensor": lambda: describe(Model())[0].tensors[0],
    "manifest": lambda: initdsl.Network.from_manifest(describe(Model())[0].to_manifest()),
    "diff": lambda: initdsl.diff(plan(), plan("*.* = 0")),
    "verification": verified,
    "check": lambda: verified()["0.weight"],
    "inferred": lambda: initdsl.infer(Model, samples=2),
    "finding": lambda: initdsl.lint("net.a ~ kaimin()")[0],
}


@pytest.mark.parametrize("name", MADE)
def test_equal_values_hash_alike(name: str) -> None:
    one, other = MADE[name](), MADE[name]()
    assert isinstance(one, Hashable)
    assert one == other
    assert hash(one) == hash(other)
    assert len({one, other}) == 1
    copied = pickle.loads(pickle.dumps(one))
    assert copied == one
    assert hash(copied) == hash(one)


def test_other_plans_hash_otherwise() -> None:
    plans = [plan(), plan("*.* = 0"), plan(seed=1), plan(vars={"b": 4}), plan("*.* = 0; ")]
    assert len({hash(each) for each in plans[:3]}) == 3
    assert len(set(plans)) == len([p for i, p in enumerate(plans) if p not in plans[:i]])
