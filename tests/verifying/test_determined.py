"""`verify` of what edits and slices make: by what determines each element, and of nothing else."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import initdsl

# ---- drawn, and edited in part

SLICED = [
    "net.weight ~ normal(0, 0.02); net.weight *= 0.5; net.weight[0] ~ uniform(-1, 1)",
    "net.weight ~ normal(0, 0.02); net.weight += 1; net.weight[0:9] -= 3",
    "net.weight ~ uniform(-1, 1); net.weight[0:20] *= 0.5",
    "net.weight ~ uniform(-1, 1); net.weight[0:20] /= -4; net.weight[10:30] += 5",
    "net.weight ~ uniform(-1, 1); net.weight[:, 3] = 0.1; net.weight *= 3",
    "net.weight ~ trunc_normal(0, 1, -2, 2); net.weight[0] += 1; net.weight[1] ~ uniform(-1, 1)",
    "net.weight ~ normal(0, 1); net.weight as (40, -1)[0] = 0; net.weight *= 2",
    "net.weight ~ normal(0, 1); net.weight[0:3] = 2; net.weight as (2, 20, -1)[:, 0] ~ normal(0, 1)",
    "net.weight ~ rademacher(0.1); net.weight[0:20] *= 3",
    "net.weight ~ normal(0, 1); net.weight[0] = abs(index(0)); net.weight[1:] *= 2",
    "net.weight ~ normal(0, 1); net.weight[0] = 0; net.weight[0] += 0.3; net.weight[0] /= 7",
    "net.weight = 0.3; net.weight[0:9] ~ normal(0, 1); net.weight /= 7",
]


@pytest.mark.parametrize("rules", SLICED)
@pytest.mark.parametrize("seed", [None, 3])
def test_what_rules_make_is_no_drift(rules: str, seed: int | None) -> None:
    rules += "; net.bias = 0"
    for state in range(4):
        torch.manual_seed(state)
        net = nn.Linear(41, 40)
        initdsl.apply(net, rules, seed=seed)
        verification = initdsl.verify(net, rules, seed=seed)
        assert verification, str(verification)
        assert verification["weight"].status == "match"
        assert verification["weight"].message == ""


@pytest.mark.parametrize("rules", SLICED)
def test_what_they_do_not_make_is(rules: str) -> None:
    rules += "; net.bias = 0"
    net = nn.Linear(41, 40)
    initdsl.apply(net, rules)
    with torch.no_grad():
        net.weight[:, 7:] *= 1.7
    assert not initdsl.verify(net, rules)


def test_each_element_is_held_against_what_makes_it() -> None:
    rules = "net.weight ~ normal(0, 1); net.weight[0:20] *= 0.1; net.weight[39] = 0.25; net.bias = 0"
    net = nn.Linear(41, 40)
    initdsl.apply(net, rules)
    swapped = copy.deepcopy(net)
    with torch.no_grad():
        swapped.weight[0:39] = swapped.weight[0:39].flip(0)  # the same numbers, in the places of others
    assert not initdsl.verify(swapped, rules)
    with torch.no_grad():
        net.weight[39, 4] = 0.26
    (check,) = initdsl.verify(net, rules).drifted
    assert check.message == "1 of 1640 elements differ, the farthest by 0.01: [39, 4]"


# ---- not determined

WHOLLY = [
    "keep net.weight; net.weight *= 2",
    "net.weight *= 2",
    "net.weight += normal(0, 1)",
    "net.weight[0] *= 2",
    "net.weight = it * 2",
    "keep net.weight; net.weight[0:3] += net.bias[0]",
    "net.weight[0] = 3; net.weight = it / max(it)",
    "net.weight *= 1e30; net.weight *= 1e30",
]

PARTLY = [
    ("keep net.weight; net.weight[0] = 3", 8),
    ("net.weight[0] = 3; net.weight *= 2", 8),
    ("keep net.weight; net.weight += 1; net.weight[0, 0:2] = 3", 10),
    ("net.weight[0] = 3; net.weight[1] = max(it)", 8),
    ("net.weight as (2, 6)[0] = 3; net.weight[0] += 1", 6),
    ("net.weight[0:2] ~ normal(0, 1); net.weight += 1", 4),
    ("net.weight[0:2] ~ orthogonal()", 4),
]


def kinds(net: nn.Module, folder: Path) -> dict[str, Any]:
    path = folder / "x.safetensors"
    save_file(net.state_dict(), path)
    return {
        "network": (net, {}),
        "state": (net.state_dict(), {}),
        "file": (path, {}),
        "with model": (path, {"model": net}),
    }


@pytest.mark.parametrize("seed", [None, 3])
@pytest.mark.parametrize("rules", WHOLLY)
def test_what_builds_on_unknown_values_is_not_compared(rules: str, seed: int | None, tmp_path: Path) -> None:
    net = nn.Linear(4, 3)
    rules = f"net.bias = 0.5; {rules}"
    if "1e30" not in rules:
        initdsl.apply(net, rules, seed=seed)
    else:
        initdsl.apply(net, "net.bias = 0.5")
    for kind, (given, options) in kinds(net, tmp_path).items():
        verification = initdsl.verify(given, rules, seed=seed, **options)
        check = verification["weight"]
        assert (check.status, check.message) == ("unchecked", "it builds on values that no rule sets"), kind
        assert verification
        assert verification["bias"].status == "match"


@pytest.mark.parametrize("seed", [None, 3])
@pytest.mark.parametrize(("rules", "unknown"), PARTLY)
def test_of_a_part_the_rest_is_compared(rules: str, unknown: int, seed: int | None, tmp_path: Path) -> None:
    net = nn.Linear(4, 3)
    rules = f"net.bias = 0.5; {rules}"
    initdsl.apply(net, rules, seed=seed)
    message = f"{unknown} of 12 elements build on values that no rule sets, and are not compared"
    for kind, (given, options) in kinds(net, tmp_path).items():
        check = initdsl.verify(given, rules, seed=seed, **options)["weight"]
        if seed is None and "orthogonal" in rules:
            assert check.status == "unchecked"
            continue
        assert (check.status, check.message) == ("match", message), kind
    before = net.weight.detach().clone()
    with torch.no_grad():
        net.weight[0, 1] += 10
    if seed is not None or "~" not in rules:
        assert initdsl.verify(net, rules, seed=seed)["weight"].status == "drift"
    with torch.no_grad():
        net.weight.copy_(before)
        net.weight[2, 3] += 10
    assert initdsl.verify(net, rules, seed=seed)["weight"].status != "drift"


def test_what_reads_such_values_is_held_against_what_is_stored() -> None:
    net = nn.Linear(4, 3)
    rules = "keep net.bias; net.bias *= 2; net.weight = net.bias[0] * 3"
    initdsl.apply(net, rules, seed=1)
    verification = initdsl.verify(net, rules, seed=1)
    assert verification["weight"].status == "match"
    assert verification["bias"].status == "unchecked"
    with torch.no_grad():
        net.bias[0] += 1
    assert initdsl.verify(net, rules, seed=1)["weight"].status == "drift"


def test_a_computed_weight_that_is_edited_only() -> None:
    net = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 3)))
    rules = "net[0].weight *= 2; net[0].bias = 0"
    initdsl.apply(net, rules, seed=1)
    check = initdsl.verify(net, rules, seed=1)["0.weight"]
    assert (check.status, check.message) == ("unchecked", "it builds on values that no rule sets")


def test_after_training_it_is_not_said_to_have_moved() -> None:
    net = nn.Linear(4, 3)
    rules = "keep net.weight; net.weight *= 2; net.bias = 0"
    initdsl.apply(net, rules, seed=1)
    assert initdsl.verify(net, rules, seed=1, after_training=True)["weight"].status == "unchecked"
