"""Parameters that DeepSpeed and Transformer Engine took apart are refused by name, and so is what they would have become."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import initdsl


def test_zero_3_leaves_parameters_empty() -> None:
    net = nn.Sequential(nn.Linear(4, 3))
    weight = nn.Parameter(torch.empty(0))
    weight.ds_id, weight.ds_tensor = 0, torch.zeros(6)  # type: ignore[attr-defined]
    net[0].weight = weight
    with pytest.raises(initdsl.ResolveError, match=r"DeepSpeed ZeRO-3 has taken `0.weight` apart") as caught:
        initdsl.apply(net, "Linear.* = 0", seed=1)
    assert "GatheredParameters" in str(caught.value.diagnostics[0].hint)


def test_what_zero_3_has_gathered_is_filled() -> None:
    net = nn.Sequential(nn.Linear(4, 3))
    net[0].weight.ds_id, net[0].weight.ds_tensor = 0, torch.zeros(6)
    initdsl.apply(net, "Linear.* = 2", seed=1)
    assert (net[0].weight == 2).all()


def test_layers_of_transformer_engine() -> None:
    kind = type("TELinear", (nn.Linear,), {"__module__": "transformer_engine.pytorch.module.linear"})
    net = nn.Sequential(kind(4, 3))
    net[0].tp_size = 1
    initdsl.apply(net, "Linear+.* = 2")
    net[0].tp_size = 2
    with pytest.raises(initdsl.ResolveError, match="`0` is cut over 2 ranks by Transformer Engine"):
        initdsl.apply(net, "Linear+.* = 0")
    assert (net[0].weight == 2).all()
