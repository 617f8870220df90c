"""What torch's own defaults are known to give, against torch itself."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

import initdsl
from initdsl.initializers import Constant, Uniform
from initdsl.planning.actions import Reset
from initdsl.planning.torch_defaults import GIVEN

LAYERS: list[nn.Module] = [
    nn.Linear(30, 200), nn.modules.linear.NonDynamicallyQuantizableLinear(30, 200), nn.Conv1d(12, 42, 5, groups=3), nn.Conv2d(8, 60, 3), nn.Conv3d(4, 50, 2),
    nn.ConvTranspose1d(30, 40, 5), nn.ConvTranspose2d(10, 30, 3), nn.ConvTranspose3d(5, 60, 3, groups=5),
    nn.Bilinear(20, 10, 60), nn.RNN(10, 50, 2), nn.LSTM(10, 50, bidirectional=True, proj_size=20), nn.GRU(10, 50),
    nn.RNNCell(20, 60), nn.LSTMCell(20, 60), nn.GRUCell(20, 60), nn.Embedding(200, 30), nn.EmbeddingBag(200, 30),
    nn.LayerNorm(9), nn.RMSNorm(9), nn.GroupNorm(3, 9), nn.BatchNorm1d(9), nn.BatchNorm2d(9), nn.BatchNorm3d(9),
    nn.SyncBatchNorm(9), nn.InstanceNorm1d(9, affine=True), nn.InstanceNorm2d(9, affine=True),
    nn.InstanceNorm3d(9, affine=True), nn.MultiheadAttention(40, 4), nn.MultiheadAttention(40, 4, kdim=30, vdim=20),
]  # fmt: skip


def known(net: nn.Module) -> dict[str, Any]:
    plan = initdsl.plan(net, "default net")
    return {e.name: e.base.payload.gives for e in plan.entries if e.base and isinstance(e.base.payload, Reset)}


def test_every_class_that_is_known_is_tried() -> None:
    assert {f"{type(layer).__module__}.{type(layer).__qualname__}" for layer in LAYERS} == set(GIVEN)


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: type(layer).__name__)
def test_what_is_known_is_what_torch_gives(layer: nn.Module) -> None:
    given = known(layer)
    with torch.no_grad():
        for tensor in layer.parameters():
            tensor.fill_(math.nan)
    torch.manual_seed(0)
    getattr(layer, "reset_parameters", getattr(layer, "_reset_parameters", None))()  # type: ignore[misc]
    tensors = {name: tensor.detach() for name, tensor in layer.state_dict().items()}
    told = {name: distribution for name, distribution in given.items() if distribution is not None}
    assert told
    for name, distribution in told.items():
        values, count = tensors[name].double(), tensors[name].numel()
        if isinstance(distribution, Constant):
            assert bool((values == distribution.value).all()), name
            continue
        assert abs(float(values.mean()) - distribution.mean) < 5 * distribution.std / math.sqrt(count), name
        assert float(values.std()) == pytest.approx(distribution.std, rel=5 / math.sqrt(count)), name
        if isinstance(distribution, Uniform):
            assert float(values.abs().max()) <= distribution.high * (1 + 1e-6), name
            assert float(values.abs().max()) > distribution.high * (1 - 20 / count), name
    unknown = given.keys() - told.keys()
    assert {name for name in unknown if not name.startswith("out_proj") and "num_batches" not in name} == set()


class Other(nn.Linear):
    def reset_parameters(self) -> None:
        nn.init.ones_(self.weight)


class Above(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 4)

    def reset_parameters(self) -> None:
        nn.init.ones_(self.layer.weight)


@pytest.mark.parametrize(
    "net",
    [
        Other(3, 4),
        Above(),
        nn.Transformer(8, 2, 1, 1, 8),
        nn.Embedding(5, 3, padding_idx=0),
    ],
    ids=["subclass", "reset above", "transformer", "padding"],
)
def test_nothing_is_said_that_is_not_sure(net: nn.Module) -> None:
    assert set(known(net).values()) == {None}


def test_of_a_computed_weight_nothing_is_said() -> None:
    told = known(nn.utils.parametrizations.weight_norm(nn.Linear(3, 4)))
    assert {name for name, distribution in told.items() if distribution is not None} == {"bias"}


def test_the_plan_says_it() -> None:
    plan = initdsl.plan(nn.Linear(16, 4), "default net\nnet.weight *= 2")
    assert str(plan.explain("bias")).endswith("its module's own default: uniform(-0.25, 0.25)")
    first = next(line for line in str(plan).splitlines() if line.startswith("weight"))
    assert "uniform(-0.5, 0.5)" in first
    assert plan.to_dict()["entries"][1]["values"] == [{"kind": "uniform", "low": -0.25, "high": 0.25}]
