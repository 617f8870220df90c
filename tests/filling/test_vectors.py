"""The vectors of spectral norm: under a seed they depend on the weight and the seed alone, whichever way a model is filled."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, spectral_norm

import initdsl
from tests.support.streamed import tensors

NORMS = {"old": spectral_norm, "new": parametrizations.spectral_norm}
ORIGINALS = {"old": "weight_orig", "new": "parametrizations.weight.original"}
RULES = [
    "default net",
    "default Linear",
    "Linear+.weight ~ normal(0, 0.1); *.bias = 0",
    "net[0].weight ~ orthogonal(); net[0].bias = 0; default net[1]",
    "net[0].ORIGINAL ~ normal(0, 1); net[0].bias = 0; default net[1]",
]


def factory(kind: str) -> Callable[[], nn.Sequential]:
    return lambda: nn.Sequential(NORMS[kind](nn.Linear(5, 3)), NORMS[kind](nn.Linear(4, 4)))


def state(net: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in net.state_dict().items()}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("kind", NORMS)
def test_every_way_gives_the_same_bits(kind: str, rules: str, tmp_path: Path) -> None:
    make = factory(kind)
    rules = rules.replace("ORIGINAL", ORIGINALS[kind]).replace("Linear+", "Linear" if kind == "old" else "Linear+")
    if "Linear" in rules and kind == "new":
        rules = rules.replace("default Linear", "default Linear+")
    nets = [make() for _ in range(3)]
    assert not torch.equal(nets[0].state_dict()[f"0.{ORIGINALS[kind]}"], nets[1].state_dict()[f"0.{ORIGINALS[kind]}"])
    initdsl.apply(nets[0], rules, seed=3)
    initdsl.apply(nets[1], rules, seed=3)
    nets[2].apply(initdsl.parse(rules).as_init_fn(nets[2], seed=3))
    nets.append(initdsl.materialize(make, rules, seed=3))
    initdsl.stream(make, rules, tmp_path / "out", seed=3)
    expected = state(nets[0])
    for found in (*map(state, nets[1:]), tensors(tmp_path / "out")):
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], value) for name, value in expected.items())
    for net in nets:
        assert initdsl.verify(net, rules, seed=3)
        assert torch.linalg.matrix_norm(net.eval()[0].weight.detach(), 2).item() == pytest.approx(1, abs=1e-3)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", NORMS)
def test_a_failure_puts_the_vectors_back(kind: str) -> None:
    net = factory(kind)()
    before = state(net)
    rules = f"net[0].{ORIGINALS[kind]} ~ normal(); expect net[0].bias mean in [5, 6]"
    with pytest.raises((initdsl.ApplyError, initdsl.ResolveError)):
        initdsl.apply(net, rules, seed=0)
    assert all(torch.equal(value, before[name]) for name, value in state(net).items())


@pytest.mark.filterwarnings("ignore")
def test_a_changed_vector_is_a_drift() -> None:
    net = factory("old")()
    initdsl.apply(net, "default net", seed=3)
    name = next(name for name in net.state_dict() if name.endswith("_u"))
    with torch.no_grad():
        net.get_buffer(name).neg_()
    assert not initdsl.verify(net, "default net", seed=3)
