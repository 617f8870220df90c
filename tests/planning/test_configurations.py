"""Values in a module's configuration: read from dicts, dataclasses, namespaces and the like, without running code."""

from __future__ import annotations

import argparse
import copy
import json
import pickle
import types
from collections import namedtuple
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pytest
import torch
import transformers
from torch import nn

import initdsl
from tests.support.nets import names_of


@dataclass
class Inner:
    std: float = 0.25


@dataclass
class Config:
    n_layer: int = 3
    init_std: float = 0.5
    inner: Inner = field(default_factory=Inner)
    sizes: tuple[int, ...] = (1, 2)
    dtype: Any = torch.float32

    @property
    def computed(self) -> int:
        raise AssertionError("code of the model runs")


@dataclass(slots=True)
class Slotted:
    n_layer: int = 3
    init_std: float = 0.5


class Named(NamedTuple):
    n_layer: int = 3
    init_std: float = 0.5


class Plain:
    init_std = 0.5

    def __init__(self) -> None:
        self.n_layer = 3

    def __getattr__(self, name: str) -> Any:
        raise AssertionError("code of the model runs")


class Attribute(dict):  # type: ignore[type-arg]
    def __getitem__(self, key: str) -> Any:
        raise AssertionError("code of the model runs")

    get = __getattr__ = __getitem__


VALUES = {"n_layer": 3, "init_std": 0.5}
CONFIGS = {
    "dataclass": Config(), "slots": Slotted(), "named tuple": Named(), "object": Plain(), "dict": dict(VALUES), "dict of its own": Attribute(VALUES),
    "namespace": types.SimpleNamespace(**VALUES), "argparse": argparse.Namespace(**VALUES), "old named tuple": namedtuple("Old", VALUES)(**VALUES),
    "pretrained": transformers.GPT2Config(n_layer=3, init_std=0.5),
}  # fmt: skip


class Net(nn.Module):
    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        self.layers = nn.ModuleList([nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)])
        for layer in self.layers:
            layer.config = config


RULES = "Linear.weight = net.config.init_std / net.config.n_layer"


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_configuration_is_read(kind: str) -> None:
    net = Net(CONFIGS[kind])
    initdsl.apply(net, RULES)
    assert net.layers[0].weight.unique().tolist() == pytest.approx([0.5 / 3])
    initdsl.apply(net, "net.layers[0:net.config.n_layer - 1].weight = net.layers[0].config.n_layer; expect net covered")
    assert net.layers[1].weight.unique().tolist() == [3]


def test_configurations_of_transformers_under_their_other_names() -> None:
    net = Net(transformers.GPT2Config(n_layer=3, n_embd=24))
    initdsl.apply(
        net, "Linear.weight = net.config.hidden_size + net.config.num_hidden_layers + net.config.initializer_range"
    )
    assert net.layers[0].weight.unique().tolist() == pytest.approx([27.02])


def test_data_in_data() -> None:
    net = Net(Config())
    initdsl.apply(net, "Linear.weight = net.config.inner.std + net.config.sizes[1]")
    assert net.layers[0].weight.unique().tolist() == [2.25]
    net = Net({"model": {"init": {"std": 4}}})
    initdsl.apply(net, "Linear.weight = net.config.model.init.std")
    assert net.layers[0].weight.unique().tolist() == [4]


@pytest.mark.parametrize("kind", ["dataclass", "slots", "dict", "namespace", "argparse", "pretrained"])
def test_a_manifest_and_a_copy_have_it_too(kind: str) -> None:
    net = Net(CONFIGS[kind])
    plan = initdsl.plan(net, RULES)
    for network in (
        initdsl.Network.from_manifest(json.loads(json.dumps(plan.network.to_manifest(), allow_nan=False))),
        pickle.loads(pickle.dumps(plan.network)),
        copy.deepcopy(plan.network),
    ):
        assert initdsl.plan(network, RULES).to_dict()["entries"] == plan.to_dict()["entries"]


@pytest.mark.parametrize(("text", "said", "hint"), [
    ("net.config.n_layers", "`net.config` (Config) has no `n_layers`", "did you mean `n_layer`?"), ("net.config", "`net.config` is `Config`, not a value", "`net.config.n_layer`"),
    ("net.config.inner", "`net.config.inner` is `Inner`, not a value", "`net.config.inner.std`"), ("net.config.computed", "is computed by code, which no plan runs", ""),
    ("net.config.dtype", "is `dtype`, not a value", "numbers, strings"), ("net.config.zzz", "has no `zzz`", "a dict, a dataclass, a namespace"), ("net.conf.n_layer", "leads to nothing", ""),
])  # fmt: skip
def test_what_can_be_read_is_said(text: str, said: str, hint: str) -> None:
    with pytest.raises(initdsl.InitDSLError) as caught:
        initdsl.plan(Net(Config()), f"Linear.weight = {text}")
    assert names_of(caught.value)[0] in ("unknown-name", "unmatched-selector")
    assert said in str(caught.value)
    assert hint in str(caught.value)
    assert len(names_of(caught.value)) == 1


def test_a_manifest_has_a_configuration_once() -> None:
    manifest = initdsl.plan(Net(Config()), RULES).network.to_manifest()
    assert [("config" in module["attributes"]) for module in manifest["modules"]] == [True, False, False, False]
    assert manifest["modules"][0]["attributes"]["config"] == {
        "n_layer": 3,
        "init_std": 0.5,
        "inner": {"std": 0.25},
        "sizes": (1, 2),
    }
