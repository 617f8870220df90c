"""Rules as a function of one module: in `net.apply`, in FSDP's `param_init_fn`, on models from the meta device."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn

import initdsl
from tests.support.processes import ranks


class Block(nn.Module):
    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 2)
        self.up = nn.Linear(width, 2 * width)
        self.down = nn.Linear(2 * width, width)


class Net(nn.Module):
    def __init__(self, depth: int = 2, tied: bool = True) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 8, padding_idx=1)
        self.scale = nn.Parameter(torch.ones(8))
        self.blocks = nn.ModuleList([Block() for _ in range(depth)])
        self.stats = nn.BatchNorm1d(8)
        self.head = nn.Linear(8, 11, bias=False)
        if tied:
            self.head.weight = self.embed.weight


RULES = """
let std = 0.02
Linear+.weight, Embedding.weight ~ normal(0, std)
Embedding.weight[padding_idx] = 0
Linear+.bias = 0
MultiheadAttention.in_proj_weight as (3, embed_dim, -1)[*] ~ xavier_uniform()
MultiheadAttention.in_proj_bias = 0
net.blocks[i].down.weight ~ normal(0, std / sqrt(2 * (i + 1)))
*Norm*.weight = 1
*Norm*.bias = 0
net.scale = 0.5
"""


def same(ours: nn.Module, theirs: nn.Module) -> None:
    left, right = ours.state_dict(), theirs.state_dict()
    assert list(left) == list(right)
    for name in left:
        assert torch.equal(left[name], right[name]), name


def on_meta(build: Callable[[], nn.Module]) -> nn.Module:
    with torch.device("meta"):
        return build()


# ---- net.apply


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("seed", [None, 3])
def test_net_apply_gives_what_apply_gives(tied: bool, seed: int | None) -> None:
    ours = Net(tied=tied)
    theirs = copy.deepcopy(ours)
    torch.manual_seed(1)
    initdsl.apply(theirs, RULES, seed=seed, strict=True)
    torch.manual_seed(1)
    ours.apply(initdsl.parse(RULES).as_init_fn(ours, seed=seed, strict=True))
    same(ours, theirs)
    assert (ours.head.weight is ours.embed.weight) is tied


def test_only_the_modules_own_parameters_are_filled() -> None:
    net = Net()
    before = copy.deepcopy(net.state_dict())
    fill = initdsl.parse(RULES).as_init_fn(net)
    fill(net)
    changed = {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"scale"}
    fill(net.blocks[0])  # it has none of its own
    fill(net.blocks[0].up)
    changed = {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"scale", "blocks.0.up.weight", "blocks.0.up.bias"}
    assert "net.blocks[0].down.weight" in fill.unfilled
    net.apply(fill)
    assert fill.unfilled == []


def test_each_call_fills_again_and_torch_draws_go_on() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    fill = initdsl.parse("Linear.* ~ normal(0, 1)").as_init_fn(net)
    fill(net[0])
    first = net[0].weight.clone()
    fill(net[0])
    assert not torch.equal(first, net[0].weight)
    by_hand = nn.Linear(4, 4)
    torch.manual_seed(5)
    fill(net[1])
    torch.manual_seed(5)
    nn.init.normal_(by_hand.weight)
    nn.init.normal_(by_hand.bias)
    assert torch.equal(net[1].weight, by_hand.weight)
    assert torch.equal(net[1].bias, by_hand.bias)


def test_a_rule_that_ties() -> None:
    text = (
        "Linear.weight, Embedding.weight ~ normal(0, 1)\ntie net.embed.weight net.head.weight\nnet.embed.weight[0] = 7"
    )
    for order in (["embed", "head"], ["head", "embed"]):
        net, other = Net(0, tied=False), Net(0, tied=False)
        fill = initdsl.parse(text).as_init_fn(net, seed=2)
        for name in order:
            fill(net.get_submodule(name))
        assert net.head.weight is net.embed.weight
        initdsl.apply(other, text, seed=2)
        assert torch.equal(other.head.weight, net.head.weight)


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.randn(2, 3))
        self.b = nn.Parameter(torch.randn(2, 3))
        self.below = nn.Linear(3, 2, bias=False)


@pytest.mark.parametrize("place", ["", "0."])
@pytest.mark.parametrize("ties", ["tie {}a {}b", "tie {}b {}a", "tie {}a {}below.weight {}b"])
def test_a_rule_that_ties_within_one_module(place: str, ties: str) -> None:
    def build() -> nn.Module:
        return nn.Sequential(Two()) if place else Two()

    path = "net[0]." if place else "net."
    rules = f"{ties.replace('{}', path)}; {path}below.weight = 0; {path}a ~ normal(0, 1)"
    net, other = build(), build()
    initdsl.apply(other, rules, seed=0)
    net.apply(initdsl.parse(rules).as_init_fn(net, seed=0))
    got, wanted = dict(net.named_parameters()), dict(other.named_parameters())
    assert set(got) == set(wanted)
    assert all(torch.equal(got[name], wanted[name]) for name in wanted)
    with torch.device("meta"):
        empty = build()
    fn = initdsl.parse(rules).as_init_fn(empty, seed=0, device="cpu")
    empty.apply(fn)
    assert set(dict(empty.named_parameters())) == set(wanted)


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize(
    "rules",
    [
        "net[0].weight ~ normal(0, 1); net[0].V ~ uniform(-1, 1)",
        "net[0].V ~ uniform(-1, 1); net[0].weight ~ normal(0, 1)",
        "net[0].weight ~ normal(0, 1); net[0].G = 2",
        "net[0].G = 2; net[0].weight ~ normal(0, 1); net[0].weight *= 3",
        "net[0].V ~ normal(0, 1); net[0].G = 1; net[0].weight *= 2",
        "net[0].weight[0] *= 2; net[0].V ~ normal(0, 1)",
    ],
)
def test_the_order_of_calls_does_not_show_in_a_computed_weight(rules: str, old: bool) -> None:
    rules = rules.replace("V", "weight_v" if old else "parametrizations.weight.original1")
    rules = rules.replace("G", "weight_g" if old else "parametrizations.weight.original0")
    wrap = nn.utils.weight_norm if old else nn.utils.parametrizations.weight_norm
    start = nn.Sequential(wrap(nn.Linear(4, 3))).state_dict()
    applied = nn.Sequential(wrap(nn.Linear(4, 3)))
    applied.load_state_dict(start)
    initdsl.apply(applied, rules, seed=1)
    for backwards in (False, True):
        net = nn.Sequential(wrap(nn.Linear(4, 3)))
        net.load_state_dict(start)
        fn = initdsl.parse(rules).as_init_fn(net, seed=1)
        modules = list(net.modules())
        for module in reversed(modules) if backwards else modules:
            fn(module)
        for name, value in applied.state_dict().items():
            if "bias" not in name:
                assert torch.equal(net.state_dict()[name], value), (name, backwards)
        assert fn.unfilled == []


def test_defaults_also_those_a_module_above_gives() -> None:
    ours = nn.ModuleDict({"attention": nn.MultiheadAttention(8, 2), "linear": nn.Linear(8, 2)})
    theirs = copy.deepcopy(ours)
    fill = initdsl.parse("default net").as_init_fn(ours, seed=4)
    for module in ours.modules():  # the other way round: parents first
        fill(module)
    initdsl.apply(theirs, "default net", seed=4)
    same(ours, theirs)
    assert (ours.attention.out_proj.bias == 0).all()


def test_parametrized_and_own_initializers() -> None:
    def checkered(tensor: torch.Tensor) -> None:
        tensor.copy_((torch.arange(tensor.numel()) % 2).view(tensor.shape))

    net = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(6, 4)), nn.Linear(4, 4))
    rules = initdsl.parse("Linear.weight = checkered(); Linear.bias = 1; net[0].weight += 1")
    net.apply(rules.as_init_fn(net, initializers={"checkered": checkered}))
    assert (net[1].weight[:, 1] == 1).all()
    torch.testing.assert_close(net[0].weight[0].detach(), torch.tensor([1.0, 2, 1, 2, 1, 2]))


def test_a_failed_call_leaves_the_module_as_it_was() -> None:
    def broken(tensor: torch.Tensor) -> None:
        tensor.fill_(9)
        raise ValueError("no")

    net = nn.Sequential(nn.Linear(2, 2))
    before = net[0].weight.clone()
    fill = initdsl.parse("Linear.bias = 1; Linear.weight = broken()").as_init_fn(net, initializers={"broken": broken})
    with pytest.raises(initdsl.ApplyError, match="broken"):
        fill(net[0])
    assert torch.equal(net[0].weight, before)


def test_wrappers_are_passed_over() -> None:
    net = nn.DataParallel(nn.Sequential(nn.Linear(2, 2)))
    net.apply(initdsl.parse("Linear.* = 3").as_init_fn(net))
    assert (net.module[0].weight == 3).all()


# ---- refused, before anything changes


@pytest.mark.parametrize(
    ("text", "name", "said"),
    [
        (
            "net[1].weight = net[0].weight",
            "reads-another-module",
            r"`net\[1\]\.weight` is made from `net\[0\]\.weight`",
        ),
        ("copy net[0] net[1]", "reads-another-module", "made from"),
        ("net[1].weight = 1; net[0].weight = norm(net[1].weight)", "reads-another-module", "apply"),
    ],
)
def test_rules_across_modules_are_refused(text: str, name: str, said: str) -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    with pytest.raises(initdsl.ResolveError, match=said) as caught:
        initdsl.parse(text).as_init_fn(net)
    assert caught.value.diagnostics[0].name == name


def test_reading_a_sibling_is_fine() -> None:
    net = nn.Sequential(nn.Linear(2, 2))
    net.apply(initdsl.parse("Linear.weight = 2; Linear.bias = sum(weight, dim=1)[:, 0]").as_init_fn(net))
    assert (net[0].bias == 4).all()


def test_edits_of_a_module_that_is_visited_twice_are_refused() -> None:
    shared = nn.Linear(2, 2)
    net = nn.ModuleDict({"a": nn.Sequential(shared), "b": nn.Sequential(shared)})
    with pytest.raises(initdsl.ResolveError, match="edit it again"):
        initdsl.parse("Linear.weight *= 2").as_init_fn(net)
    net.apply(initdsl.parse("Linear.weight = 1; Linear.weight *= 2").as_init_fn(net))
    assert (shared.weight == 2).all()


def test_modules_of_another_network_and_what_arranges_others_are_refused() -> None:
    net = nn.Sequential(nn.Linear(2, 2))
    fill = initdsl.parse("Linear.* = 1").as_init_fn(net)
    with pytest.raises(initdsl.ResolveError, match="no part of the model"):
        copy.deepcopy(net).apply(fill)
    with pytest.raises(initdsl.ResolveError, match="below it"):
        initdsl.parse("default net").as_init_fn(nn.Transformer(8, 2, 1, 1, 16))


def test_what_apply_finds_is_found() -> None:
    with pytest.raises(initdsl.ResolveError, match="weigth"):
        initdsl.parse("net.weigth = 1").as_init_fn(nn.Linear(2, 2))
    with pytest.warns(initdsl.UncoveredParameterWarning, match=r"net\.bias"):
        initdsl.parse("net.weight = 1").as_init_fn(nn.Linear(2, 2))
    with pytest.raises(TypeError, match=r"nn\.Module"):
        initdsl.parse("net.weight = 1").as_init_fn("net")


# ---- from the meta device


def test_to_empty_then_apply() -> None:
    ours, theirs = on_meta(Net), Net()
    fill = initdsl.parse(RULES).as_init_fn(ours, seed=3)
    with pytest.raises(initdsl.ResolveError, match="to_empty"):
        fill(ours.head)
    ours.to_empty(device="cpu")
    ours.stats.reset_running_stats()
    ours.apply(fill)
    initdsl.apply(theirs, RULES, seed=3)
    same(ours, theirs)
    assert ours.head.weight is ours.embed.weight  # `to_empty` had made two of it


def test_memory_is_given_where_a_device_is_named_and_defaults_where_no_rule_speaks() -> None:
    ours, theirs = on_meta(Net), Net()
    text = "Embedding.weight ~ normal(0, 1)\nnet.scale = 2"
    ours.apply(initdsl.parse(text).as_init_fn(ours, seed=3, device="cpu"))
    initdsl.apply(theirs, "default net.blocks, net.stats\n" + text, seed=3, strict=True)
    same(ours, theirs)
    assert ours.head.weight is ours.embed.weight


def test_what_would_hold_whatever_was_in_memory_is_refused() -> None:
    with pytest.raises(initdsl.ResolveError, match=r"net\.scale"):
        initdsl.parse("Linear.* = 1").as_init_fn(on_meta(Net))

    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mask", torch.ones(2))
            self.linear = nn.Linear(2, 2)

    with pytest.raises(initdsl.ResolveError, match=r"net\.mask"):
        initdsl.parse("Linear.* = 1").as_init_fn(on_meta(Masked), device="cpu")
    net = on_meta(Masked)
    net.apply(initdsl.parse("Linear.* = 1; net.mask = 4").as_init_fn(net, device="cpu"))
    assert net.mask.tolist() == [4, 4]


def test_memory_taken_away_under_a_tie_is_filled_again() -> None:
    net = Net(0)
    net.stats = nn.Identity()
    fill = initdsl.parse("Embedding.weight = 5; net.scale = 1").as_init_fn(net)
    fill(net.embed)
    net.head.to_empty(device="cpu", recurse=False)
    net.head.weight.data.zero_()
    fill(net.head)
    assert (net.embed.weight == 5).all()


FSDP = "tests.support.workers.fsdp"


@pytest.mark.parametrize("mode", ["device", "to_empty"])
def test_fsdp_calls_it_on_modules_without_memory(mode: str) -> None:
    for done in ranks(2, "-m", FSDP, mode):  # how it ends says nothing: whoever leaves first cuts the other off
        assert "as one model: 24 parameters" in done.stdout, done.stderr[-3000:]


def test_a_buffer_that_a_rule_sets_by_its_tied_name_has_values() -> None:
    def build() -> nn.Module:
        net = nn.Linear(2, 2)
        net.register_buffer("p", torch.zeros(2))
        net.register_buffer("q", torch.ones(2))
        return net

    with torch.device("meta"):
        net = build()
    net.apply(initdsl.parse("tie net.p net.q; net.q = 3; net.* = 1").as_init_fn(net, device="cpu"))
    assert net.p is net.q
    assert net.p.tolist() == [3, 3]
