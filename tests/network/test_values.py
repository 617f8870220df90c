"""A described model, and what selectors select in it, are plain values: they compare, copy and pickle."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save_file
from torch import nn

import initdsl
from initdsl.network.selectors.context import MatchCache, SelectorContext
from initdsl.network.selectors.matches import Frame, Match
from initdsl.network.selectors.select import select

COPIES: list[Callable[[Any], Any]] = [copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))]


def selectors_of(net: nn.Module) -> SelectorContext:
    def nothing(*_: object) -> Any:
        return None  # numbers need no names

    return SelectorContext(initdsl.describe(net)[0], nothing, lambda name: False, MatchCache())


def selected(context: SelectorContext, selector: str, frame: Frame | None = None) -> list[Match]:
    (rule,) = initdsl.parse(f"keep {selector}").rules
    return select(context, rule.targets, frame)  # type: ignore[union-attr]


@pytest.mark.parametrize("copied", COPIES)
def test_matches_and_blocks_are_values(copied: Callable[[Any], Any]) -> None:
    net = nn.Sequential(nn.Sequential(nn.Linear(2, 2)), nn.Sequential(nn.Linear(2, 2)))
    one, other = selectors_of(net), selectors_of(net)
    frames = [Frame(m.network, selected(m, "net[i]")) for m in (one, other)]
    assert frames[0] == frames[1] == copied(frames[0])
    assert hash(frames[0]) == hash(frames[1])
    for selector in ("Linear.weight", "net[0][0].weight[0, 1]", "net[i][0]", "Linear.weight as (4,)[0]"):
        matches = selected(one, selector, frames[0])
        assert matches
        assert matches == selected(other, selector, frames[1]) == copied(matches), selector
    assert {match.frame for match in matches} == set(frames[0].matches)


def test_verifying_leaves_the_description_it_is_given_as_it_was(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(4, 8))
    network, _ = initdsl.describe(net)
    tensors = copy.deepcopy(network.tensors)
    rules = "Linear.weight ~ normal(0, 0.01); Linear.bias = 0"
    initdsl.apply(net, rules, seed=0)
    save_file(net.state_dict(), tmp_path / "net.safetensors")
    assert initdsl.verify(tmp_path / "net.safetensors", rules, seed=0, model=network)
    assert network.tensors == tensors
    assert {tensor.device for tensor in network.tensors} == {"cpu"}


def test_modules_of_a_manifest_that_hold_each_other_have_names() -> None:
    manifest = initdsl.describe(nn.Sequential(nn.Sequential(nn.ReLU()), nn.Linear(2, 2)))[0].to_manifest()
    ring = manifest["modules"][1], manifest["modules"][2]
    manifest["modules"][0]["children"] = {"1": 3}
    ring[1]["children"] = {"round": 1}  # each in the other, neither in the root
    network = initdsl.Network.from_manifest(manifest)
    assert network.module_names(1) == ["0"]
    assert network.module_names(3) == ["1"]


@pytest.mark.parametrize("copied", COPIES)
def test_descriptions_are_values(copied: Callable[[Any], Any]) -> None:
    net = nn.Sequential(nn.Linear(4, 8), nn.Conv2d(2, 2, 3), nn.ModuleDict({"a": nn.ReLU()}))
    network, _ = initdsl.describe(net)
    assert network.by_class
    assert network.apply_order
    copied_network = copied(network)
    assert copied_network == network == initdsl.describe(net)[0]
    assert copied_network.fingerprint() == network.fingerprint()
    assert copied_network.to_manifest() == network.to_manifest()
    assert len(pickle.dumps(network)) < 10_000  # no weights
    assert [module.cls for module in copied_network.modules] == [module.cls for module in network.modules]
    assert network != initdsl.describe(nn.Sequential(nn.Linear(4, 8), nn.Conv2d(2, 2, 3, groups=2)))[0]


def test_a_description_does_not_follow_the_network() -> None:
    net = nn.Sequential(nn.Conv2d(2, 2, 3))
    network, _ = initdsl.describe(net)
    net[0].padding_mode = "circular"
    assert network.modules[1].attribute("padding_mode") == "zeros"
