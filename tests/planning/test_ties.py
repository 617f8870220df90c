"""Ties: one object, not equal values; through training, `state_dict` and `deepcopy`."""

from __future__ import annotations

import copy
import io

import pytest
import torch
from torch import nn

import initdsl
from tests.support.nets import Tensors, Tower, filled, mlp, names_of, same, snapshot


def one(*parameters: nn.Parameter) -> bool:
    """All the same object."""
    return all(p is parameters[0] for p in parameters)


def test_modules_share_every_parameter() -> None:
    net = mlp()
    kept = net[2].weight
    report = initdsl.apply(net, "tie net[2] net[4]; Linear.weight ~ normal()")
    assert one(kept, net[2].weight, net[4].weight)
    assert one(net[2].bias, net[4].bias)
    assert not one(net[0].weight, net[2].weight)
    assert sorted(report.tied) == [("2.bias", "4.bias"), ("2.weight", "4.weight")]
    with torch.no_grad():
        net[4].weight[0, 0] = 1000
    assert net[2].weight[0, 0] == 1000


def test_training_keeps_them_one() -> None:
    net = mlp()
    initdsl.apply(net, "tie net[0] net[2] net[4]")
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.1)
    assert len(list(net.parameters())) == 2
    before = net[0].weight.detach().clone()
    for _ in range(3):
        optimizer.zero_grad()
        net(torch.randn(5, 4)).square().sum().backward()
        optimizer.step()
    assert one(net[0].weight, net[2].weight, net[4].weight)
    assert not torch.equal(before, net[0].weight)
    x = torch.randn(2, 4)
    expected = x
    for k in range(3):
        expected = expected @ net[0].weight.T + net[0].bias
        expected = expected.relu() if k < 2 else expected
    torch.testing.assert_close(net(x), expected)


def test_state_dict_and_deepcopy() -> None:
    net = mlp()
    initdsl.apply(net, "tie net[2] net[4]; *.* ~ normal()")
    twin = copy.deepcopy(net)
    assert one(twin[2].weight, twin[4].weight)
    assert twin[2].weight is not net[2].weight
    buffer = io.BytesIO()
    torch.save(net.state_dict(), buffer)
    buffer.seek(0)
    other = mlp()
    initdsl.apply(other, "tie net[2] net[4]")
    other.load_state_dict(torch.load(buffer))
    assert one(other[2].weight, other[4].weight)
    assert torch.equal(other[4].weight, net[2].weight)


def test_one_parameter() -> None:
    net = Tower()
    initdsl.apply(net, "tie net.head.weight net.embed.weight; Embedding.weight ~ normal(0, 0.02)")
    assert net.head.weight is net.embed.weight
    assert net.head.weight.std() < 0.05


def test_filled_once_by_the_last_rule_for_any_name() -> None:
    for rules, value in (
        ("Embedding.weight = 1; Linear.weight = 2", 2),
        ("Linear.weight = 2; Embedding.weight = 1", 1),
        ("Linear.weight = 2; Embedding.weight += 1", 3),
    ):
        net = Tower()
        initdsl.apply(net, f"{rules}; tie net.embed.weight net.head.weight")
        assert (net.head.weight == value).all()
    draws = []
    initdsl.apply(
        Tower(),
        "tie net.embed.weight net.head.weight; Linear.weight, Embedding.weight = seen()",
        initializers={"seen": lambda tensor: draws.append(tuple(tensor.shape))},
    )
    assert draws.count((6, 4)) == 1


def test_named_as_the_tied_network_names_it() -> None:
    """Whichever operand stays, the name is the first of `named_parameters()`: a second apply sees the same model."""
    for rule in ("tie net.head.weight net.embed.weight", "tie net.embed.weight net.head.weight"):
        net = Tower()
        first = initdsl.apply(net, f"*.* ~ normal(); {rule}", seed=3)
        values = net.embed.weight.detach().clone()
        second = initdsl.apply(net, f"*.* ~ normal(); {rule}", seed=3)
        names = [n for n, _ in net.named_parameters()]
        assert [e.name for e in first] == [e.name for e in second] == names
        assert [e.label for e in first] == [e.label for e in second]
        assert torch.equal(net.embed.weight, values)


def test_several_by_one_selector() -> None:
    net = filled(mlp())
    initdsl.apply(net, "tie Linear.weight")
    assert one(net[0].weight, net[2].weight, net[4].weight)
    assert not one(net[0].bias, net[2].bias)


@pytest.mark.parametrize(
    "rules",
    [
        "tie net[0].weight net[2].weight; tie net[4].weight net[2].weight",
        "tie net[0].weight net[2].weight; tie net[4].weight net[0].weight",
        "tie net[2].weight net[4].weight; tie net[0].weight net[4].weight",
        "tie net[0].weight net[2].weight; tie net[2].weight net[4].weight",
        "tie net[0].weight net[2].weight net[4].weight",
        "tie net[4].weight net[2].weight; tie net[2].weight net[0].weight; tie net[0].weight net[4].weight",
    ],
)
def test_chains(rules: str) -> None:
    net = mlp()
    report = initdsl.apply(net, f"{rules}; net[0].weight = 3")
    assert one(net[0].weight, net[2].weight, net[4].weight)
    assert (net[0].weight == 3).all()
    assert [set(names) for names in report.tied] == [{"0.weight", "2.weight", "4.weight"}]
    assert set(report["2.weight"].names) == {"0.weight", "2.weight", "4.weight"}


def test_the_first_operand_is_the_one_that_stays() -> None:
    for order in ((0, 2, 4), (4, 0, 2), (2, 4, 0)):
        net = mlp()
        first = net[order[0]].weight
        initdsl.apply(net, "tie " + " ".join(f"net[{k}].weight" for k in order))
        assert one(first, net[0].weight, net[2].weight, net[4].weight)


def test_pairs_by_index() -> None:
    net = nn.Module()
    net.enc, net.dec = (nn.ModuleList(nn.Linear(2, 2) for _ in range(3)) for _ in range(2))
    initdsl.apply(net, "tie net.enc[i].weight net.dec[i].weight; net.enc[i].weight = i")
    for i in range(3):
        assert one(net.enc[i].weight, net.dec[i].weight)
        assert (net.dec[i].weight == i).all()
        assert not one(net.enc[i].bias, net.dec[i].bias)


def test_one_a_block() -> None:
    net = Tower()
    initdsl.apply(net, "net.layers[i] { tie .proj.weight .attn.out_proj.weight }")
    for i, layer in enumerate(net.layers):
        assert one(layer.proj.weight, layer.attn.out_proj.weight)
        assert not one(layer.proj.weight, net.layers[i - 1].proj.weight)
    net = Tower()
    initdsl.apply(net, "Block { tie .proj.bias .attn.out_proj.bias }")
    assert one(net.layers[0].proj.bias, net.layers[0].attn.out_proj.bias)
    assert not one(net.layers[0].proj.bias, net.layers[1].proj.bias)


def test_whole_layers_as_in_albert() -> None:
    net = Tower(4)
    initdsl.apply(net, "tie net.layers[*]; Block.proj.weight ~ normal()")
    for layer in net.layers[1:]:
        for a, b in zip(net.layers[0].parameters(), layer.parameters(), strict=True):
            assert a is b
    x = torch.randn(1, 4)
    assert torch.equal(net.layers[0].proj(x), net.layers[3].proj(x))


def test_already_tied() -> None:
    net = Tower()
    net.head.weight = net.embed.weight
    initdsl.apply(net, "tie net.head.weight net.embed.weight; net.embed.weight = 2")
    assert one(net.head.weight, net.embed.weight)
    assert (net.head.weight == 2).all()
    layer = nn.Linear(4, 4)
    other = nn.Sequential(layer, nn.ReLU(), layer, nn.Linear(4, 4))
    initdsl.apply(other, "tie net[3] net[0]; Linear.weight = 5")
    assert one(other[0].weight, other[2].weight, other[3].weight)
    assert other[0] is other[2]


def test_rnn_flat_weights_follow() -> None:
    net = nn.ModuleList([nn.LSTM(3, 3), nn.LSTM(3, 3)])
    initdsl.apply(net, "tie net[0] net[1]; *.* = 0.25")
    for a, b in zip(net[0]._flat_weights, net[1]._flat_weights, strict=True):
        assert a is b
    x = torch.randn(2, 1, 3)
    assert torch.equal(net[0](x)[0], net[1](x)[0])
    inner = nn.LSTM(4, 4, num_layers=2)
    initdsl.apply(inner, "tie net.weight_hh_l0 net.weight_hh_l1; *.* ~ uniform()")
    assert inner._flat_weights[1] is inner._flat_weights[5]
    assert inner._flat_weights[1] is inner.weight_hh_l1


def test_dicts_and_lists_of_parameters() -> None:
    net = nn.Module()
    net.a = nn.ParameterDict({"x": torch.ones(2), "y": torch.zeros(2)})
    net.b = nn.ParameterList([torch.ones(2), torch.zeros(2)])
    initdsl.apply(net, "tie net.a.x net.b[1]; tie net.a.y net.b[0]; net.b[1] = 4")
    assert one(net.a["x"], net.b[1])
    assert one(net.a["y"], net.b[0])
    assert (net.a["x"] == 4).all()


MISMATCHES = [
    ("tie net[0].weight net[0].bias", "tie-mismatch", "differ in shape"),
    ("tie net[0] net[0].weight", "tie-mismatch", "can't be tied to a parameter"),
    ("tie net[0] net[1]", "tie-mismatch", "don't have the same parameters"),
    ("tie net[0].weight", "tie-alone", "nothing to tie"),
    ("tie net[0].weight[0] net[2].weight[0]", "bad-index", "slice"),
    ("tie net[0].weight as (2, -1) net[2].weight", "bad-index", "slice"),
    ("tie net[0].weight net[9].weight", "unmatched-selector", "no such index"),
]


@pytest.mark.parametrize(("rules", "name", "text"), MISMATCHES, ids=[r for r, *_ in MISMATCHES])
def test_what_cannot_be_tied(rules: str, name: str, text: str) -> None:
    net = mlp()
    before = snapshot(net)
    with pytest.raises(initdsl.ResolveError) as caught:
        initdsl.apply(net, f"*.* = 1; {rules}")
    assert names_of(caught.value) == [name]
    assert text in str(caught.value)
    same(before, snapshot(net))


def test_other_kinds_of_tensors() -> None:
    net = Tensors({"b": torch.ones(2)}, w=torch.ones(2), h=torch.ones(2, dtype=torch.float16))
    for rules in ("tie net.w net.h", "tie net.w net.b"):
        with pytest.raises(initdsl.ResolveError) as caught:
            initdsl.apply(net, rules)
        assert names_of(caught.value) == ["tie-mismatch"]
    lazy = nn.Sequential(nn.LazyLinear(2), nn.Linear(2, 2))
    with pytest.raises(initdsl.ResolveError) as caught:
        initdsl.apply(lazy, "tie net[0].weight net[1].weight")
    assert names_of(caught.value) == ["tie-mismatch"]
    computed = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)), nn.Linear(2, 2))
    with pytest.raises(initdsl.ResolveError, match="parametrization"):
        initdsl.apply(computed, "tie net[1].weight net[0].weight")


def test_a_failed_fill_unties() -> None:
    net = nn.ModuleList([nn.LSTM(2, 2), nn.LSTM(2, 2), nn.Linear(2, 2)])
    before = snapshot(net)

    def fail(tensor: torch.Tensor) -> None:
        raise OSError("no")

    with pytest.raises(initdsl.ApplyError):
        initdsl.apply(net, "*.* ~ normal(); tie net[0] net[1]; net[2].bias = fail()", initializers={"fail": fail})
    same(before, snapshot(net))
    assert net[0].weight_ih_l0 is not net[1].weight_ih_l0
