"""Layers under `torch.nn.utils.prune`: their weight is selected by its name, written to what holds it, and stays pruned."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

import initdsl


class Half(prune.BasePruningMethod):
    """A method of one's own: every second element goes."""

    PRUNING_TYPE = "unstructured"

    def compute_mask(self, t: torch.Tensor, default_mask: torch.Tensor) -> torch.Tensor:
        mask = default_mask.clone()
        mask.view(-1)[::2] = 0
        return mask


def pruned(own: bool = False) -> nn.Sequential:
    net = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2))
    if own:
        Half.apply(net[0], "weight")
    else:
        prune.l1_unstructured(net[0], "weight", 0.25)
        prune.random_unstructured(net[0], "weight", 0.25)  # several: a container
        prune.l1_unstructured(net[0], "bias", 2)
    return net


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("seed", [None, 3])
def test_a_pruned_weight_is_written_through_its_mask(own: bool, seed: int | None) -> None:
    net = pruned(own)
    mask = net[0].weight_mask.clone()
    report = initdsl.apply(net, "Linear.weight ~ normal(5, 1); Linear.bias = 2", seed=seed, strict=True)
    assert report.uncovered == []
    assert torch.equal(net[0].weight_mask, mask)
    assert bool((net[0].weight_orig > 0).all())
    assert torch.equal(net[0].weight, net[0].weight_orig * mask)
    wanted = net[0].weight_orig * mask
    net(torch.zeros(1, 4))
    assert torch.equal(net[0].weight, wanted)
    assert initdsl.verify(net, "Linear.weight ~ normal(5, 1); Linear.bias = 2", seed=seed)


def test_the_values_are_those_of_a_layer_that_is_not_pruned() -> None:
    net, plain = pruned(), nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2))
    rules = "default Linear; Linear.weight *= 2"
    for one in (net, plain):
        initdsl.apply(one, rules, seed=1)
    assert torch.equal(net[0].weight, plain[0].weight * net[0].weight_mask)
    assert torch.equal(net[0].bias, plain[0].bias * net[0].bias_mask)
    again = pruned()
    again.load_state_dict(net.state_dict())
    again.apply(initdsl.parse(rules).as_init_fn(again, seed=1))
    assert torch.equal(again[0].weight_orig * again[0].weight_mask, net[0].weight)


def test_a_failure_puts_a_pruned_weight_back() -> None:
    net = pruned()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    weight = net[0].weight.detach().clone()
    with pytest.raises(initdsl.ApplyError):
        initdsl.apply(net, "net[0].weight = 1; net[1].weight = 1 / index(0)", seed=1)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert torch.equal(net[0].weight, weight)


def test_what_is_computed_from_may_be_named(tmp_path: Path) -> None:
    net = pruned()
    initdsl.apply(net, "net[0].weight_orig = 3; net[0].bias_orig = 1; net[1].* = 0", strict=True)
    net(torch.zeros(1, 4))
    assert torch.equal(net[0].weight, 3 * net[0].weight_mask)
