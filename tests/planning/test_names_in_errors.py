"""Errors call a tensor as rules do, and say what is packed, lazy or of another shape."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import initdsl


def refused(net: nn.Module, rules: str) -> initdsl.Diagnostic:
    with pytest.raises(initdsl.InitDSLError) as caught:
        initdsl.plan(net, rules)
    return caught.value.diagnostics[0]


class Integers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("ids", torch.zeros(3, dtype=torch.int64))
        self.w = nn.Parameter(torch.zeros(3, dtype=torch.complex64))


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ("net[1].weight = 0", "`net[1].weight` has no shape yet"),
        ("net[2].ids ~ normal(0, 1)", "`net[2].ids` is int64 and can't be drawn"),
        ("net[2].ids = 0.5", "`net[2].ids` is int64 and can't hold 0.5"),
        ("net[2].ids /= 2", "`net[2].ids` is int64 and can't be divided"),
        ("net[2].w ~ bernoulli()", "`net[2].w` is complex64"),
        ("net[2].w ~ normal(); expect net[2].w mean in [0, 1]", "`net[2].w` is complex64, and `expect ... mean`"),
        ("tie net[0].weight net[1].weight", "`net[1].weight` has no shape yet"),
        ("copy net[0].weight net[3].weight", "`net[3].weight` [2, 4]"),
    ],
)
def test_a_tensor_has_the_name_that_rules_give_it(rules: str, said: str) -> None:
    net = nn.Sequential(nn.Linear(4, 3), nn.LazyLinear(2), Integers(), nn.Linear(4, 2))
    found = refused(net, rules)
    assert said in found.message


def test_a_lazy_tensor_is_no_scalar() -> None:
    net = nn.Sequential(nn.LazyLinear(3))
    table = str(initdsl.plan(net, "keep net"))
    assert "lazy" in table
    assert "scalar" not in table


class Linear4bit(nn.Module):
    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(8, 1, dtype=dtype), requires_grad=False)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8])
@pytest.mark.parametrize("rule", ["= 0", "*= 2", "~ normal(0, 1)", "= index(0)", "[0] = 1"])
def test_packed_weights_are_refused(rule: str, dtype: torch.dtype) -> None:
    found = refused(nn.Sequential(Linear4bit(dtype)), f"Linear4bit.weight{' ' * (rule[0] != '[')}{rule}")
    assert found.name == "bad-dtype"
    assert "packed or quantized" in found.message


def test_packed_weights_are_kept_and_loaded(tmp_path: Path) -> None:
    net = nn.Sequential(Linear4bit(torch.uint8))
    initdsl.apply(net, "keep net")
    save_file({"0.weight": torch.full((8, 1), 7, dtype=torch.uint8)}, tmp_path / "x.safetensors")
    initdsl.apply(net, 'net = load("x.safetensors")', root=tmp_path)
    assert net[0].weight.unique().tolist() == [7]
    initdsl.apply(net, 'net[0].weight = load("x.safetensors", key="0.weight")', root=tmp_path)


def test_rows_of_a_head_are_not_resized_by_a_hint(tmp_path: Path) -> None:
    save_file({"fc": torch.zeros(10, 4), "words": torch.zeros(10, 4)}, tmp_path / "x.safetensors")
    head = initdsl.parse('net[0].weight = load("x.safetensors", key="fc")')
    with pytest.raises(initdsl.InitDSLError) as caught:
        initdsl.plan(nn.Sequential(nn.Linear(4, 3)), head, root=tmp_path)
    assert "a head for other classes is drawn anew" in (caught.value.diagnostics[0].hint or "")
    with pytest.raises(initdsl.InitDSLError) as caught:
        initdsl.plan(nn.Sequential(nn.Embedding(3, 4)), head, root=tmp_path)
    assert (caught.value.diagnostics[0].hint or "").startswith("`resize_rows(load(...))` or")
