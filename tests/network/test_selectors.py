"""Chapter 2 of the language: every row of its table and every bullet, on real modules."""

from __future__ import annotations

import copy
import json
import warnings
from collections import OrderedDict

import pytest
import torch
from torch import nn

import initdsl
from initdsl.network.describe import describe
from initdsl.network.description import Network
from tests.network.test_selecting_nothing import Derived
from tests.support.nets import Block, Tensors, Tower, filled, mlp, names_of, written


class FancyLinear(nn.Linear):
    pass


def both() -> nn.Sequential:
    return nn.Sequential(OrderedDict(plain=nn.Linear(3, 2), fancy=FancyLinear(3, 2), conv=nn.Conv2d(4, 4, 1, groups=2)))


CLASSES: list[tuple[str, set[str]]] = [
    ("Linear.weight = 0", {"plain.weight"}),
    ("Linear+.weight = 0", {"plain.weight", "fancy.weight"}),
    ("FancyLinear.bias = 0", {"fancy.bias"}),
    ("nn.Linear.weight = 0", {"plain.weight"}),
    ("torch.nn.Linear.weight = 0", {"plain.weight"}),
    ("linear.Linear.weight = 0", {"plain.weight"}),
    ("torch.nn.modules.linear.Linear.weight = 0", {"plain.weight"}),
    ("tests.network.test_selectors.FancyLinear.weight = 0", {"fancy.weight"}),
    ("nn.Linear+.bias = 0", {"plain.bias", "fancy.bias"}),
    ("Conv*d.weight = 0", {"conv.weight"}),
    ("*Linear.weight = 0", {"plain.weight", "fancy.weight"}),
    ("*.bias = 0", {"plain.bias", "fancy.bias", "conv.bias"}),
    ("*.* = 0", {"plain.weight", "plain.bias", "fancy.weight", "fancy.bias", "conv.weight", "conv.bias"}),
    ("Linear+(out_features=2).weight = 0", {"plain.weight", "fancy.weight"}),
    ("Linear(out_features=3).weight? = 0", set()),
    ("Conv2d(groups>1, kernel_size=(1, 1)).weight = 0", {"conv.weight"}),
    ("Conv2d(groups==2).weight = 0", {"conv.weight"}),
    ("Conv2d(groups!=2).weight? = 0", set()),
    ("Conv2d(groups<=2, groups>=2, groups<3).weight = 0", {"conv.weight"}),
    ("Conv2d(groups<2).weight? = 0", set()),
    ("Conv2d(groups=in_channels).weight? = 0", set()),
    ("Conv2d(groups=in_channels // 2).weight = 0", {"conv.weight"}),
    ('Conv2d(padding_mode="zeros").weight = 0', {"conv.weight"}),
    ("Linear(bias).weight = 0", {"plain.weight"}),
    ("Linear(!bias).weight? = 0", set()),
    ("*.*(ndim>=2) = 0", {"plain.weight", "fancy.weight", "conv.weight"}),
    ("*.*(ndim=4, numel<100) = 0", {"conv.weight"}),
    ("*.*(shape=(2, 3)) = 0", {"plain.weight", "fancy.weight"}),
    ("*.*(dtype=float32, ndim=1) = 0", {"plain.bias", "fancy.bias", "conv.bias"}),
    ('*.*(dtype="torch.float32", ndim=4) = 0', {"conv.weight"}),
    ("*.*(!requires_grad)? = 0", set()),
    ("Linear.weight, Conv2d.bias = 0", {"plain.weight", "conv.bias"}),
    ("linear.weight? = 0", set()),
]


@pytest.mark.parametrize(("rules", "expected"), CLASSES, ids=[r for r, _ in CLASSES])
def test_classes(rules: str, expected: set[str]) -> None:
    assert written(both(), rules) == expected


def test_exact_class_is_type_is() -> None:
    """`Linear` is `type(m) is nn.Linear`: the attention's own projection is a subclass and stays."""
    net = filled(Tower())
    initdsl.apply(net, "Linear.weight = 0")
    for module in net.modules():
        if isinstance(module, nn.Linear):
            assert bool((module.weight == 0).all()) is (type(module) is nn.Linear)
    plan = initdsl.plan(net, "Linear.weight = 0")
    assert any("subclasses of it are not selected" in note.message for note in plan.notes)
    assert any("`Linear+` would" in (note.hint or "") for note in plan.notes)


PATHS = [
    ("net[0].weight = 0", {"0.weight"}),
    ("net[-1].weight = 0", {"4.weight"}),
    ("net.0.weight = 0", {"0.weight"}),
    ('net["2"].weight = 0', {"2.weight"}),
    ("net[2:].weight = 0", None),  # a ReLU has none: each thing a path reaches need not have the name
    ("net[0:3].weight = 0", {"0.weight", "2.weight"}),
    ("net[::2].weight = 0", {"0.weight", "2.weight", "4.weight"}),
    ("net[::-1].bias = 0", {"0.bias", "2.bias", "4.bias"}),
    ("net[*].weight = 0", {"0.weight", "2.weight", "4.weight"}),
    ("net[i].weight = i", {"0.weight", "2.weight", "4.weight"}),
    ("net.*.weight = 0", {"0.weight", "2.weight", "4.weight"}),
    ("net.**.weight = 0", {"0.weight", "2.weight", "4.weight"}),
    ("net.** = 0", {"0.weight", "0.bias", "2.weight", "2.bias", "4.weight", "4.bias"}),
    ("net[0].* = 0", {"0.weight", "0.bias"}),
    ("net[0].b* = 0", {"0.bias"}),
    (r"/^2\.weight$/ = 0", {"2.weight"}),
    ("/bias/ = 0", {"0.bias", "2.bias", "4.bias"}),
    ("net[0, ].weight = 0", {"0.weight"}),
    ("net[1 + 1].weight = 0", {"2.weight"}),
    ("let k = 2; net[(k + 0)].weight = 0", {"2.weight"}),
    ("net[0:len(net):4].weight = 0", {"0.weight", "4.weight"}),
    ("net[9:].weight? = 0", set()),
    ("net[0].weight, net[4].bias = 0", {"0.weight", "4.bias"}),
    ("(net[0].weight, net[4].bias) in net[4] = 0", {"4.bias"}),
    ("Linear.weight in net[2] = 0", {"2.weight"}),
    ("Linear.weight not in net[2] = 0", {"0.weight", "4.weight"}),
    ("Linear.weight not in (net[2], net[0]) = 0", {"4.weight"}),
    ("Linear.weight in (net[2], net[0]) not in net[0] = 0", {"2.weight"}),
    ("Linear.weight in /^[02]$/ = 0", {"0.weight", "2.weight"}),
    ("Linear.weight not in /2/ = 0", {"0.weight", "4.weight"}),
    ("net[0].weight in net = 0", {"0.weight"}),
    ("net[0].weight in net[0] = 0", {"0.weight"}),
]


@pytest.mark.parametrize(("rules", "expected"), PATHS, ids=[r for r, _ in PATHS])
def test_paths(rules: str, expected: set[str] | None) -> None:
    assert written(mlp(), rules) == (expected if expected is not None else {"2.weight", "4.weight"})


def test_pythons_own_indexing() -> None:
    net = mlp()
    for k in range(-len(net), len(net)):
        if isinstance(net[k], nn.Linear):
            initdsl.apply(filled(net), f"net[{k}].weight = 0")
            assert not net[k].weight.any()
    for cut in (slice(1, 4), slice(-2, None), slice(None, -3), slice(4, 0, -2), slice(2, 99)):
        bounds = ":".join("" if b is None else str(b) for b in (cut.start, cut.stop, cut.step))
        initdsl.apply(filled(net), f"net[{bounds}].weight = 0")
        chosen = range(5)[cut]
        for i, module in enumerate(net):
            if isinstance(module, nn.Linear):
                assert bool((module.weight == 0).all()) is (i in chosen)


def test_index_of_a_list_counts_its_children_only() -> None:
    class Scaled(nn.Sequential):
        def __init__(self) -> None:
            super().__init__(nn.Linear(2, 2), nn.Linear(2, 2))
            self.scale = nn.Parameter(torch.ones(2))

    assert written(Scaled(), "net[-1].bias = 0; net.scale = len(net)") == {"1.bias", "scale"}
    assert Scaled()[-1] is not None


class Gaps(nn.Module):
    """Lists of which some places hold None, or a plain value."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(1, 1), None, nn.Linear(1, 1), nn.Linear(1, 1)])  # type: ignore[list-item]
        self.steps = nn.Sequential(nn.Linear(1, 1))
        self.steps.register_module("gone", None)
        self.steps.append(nn.Linear(1, 1))
        self.scales = nn.ParameterList([torch.zeros(1), 5, torch.zeros(1)])


@pytest.mark.parametrize("name", ["layers", "steps"])
def test_a_place_that_is_none_counts_as_in_python(name: str) -> None:
    net = Gaps()
    held = getattr(net, name)
    count = len(held)
    for k in range(-count, count):
        child = list(held._modules.values())[k]
        initdsl.apply(filled(net), f"net.{name}[{k}].bias? = 0")
        zero = [m for m in held._modules.values() if m is not None and not m.bias.any()]
        assert zero == ([] if child is None else [child])
    for cut in (slice(1, None), slice(-2, None), slice(None, -1), slice(None, None, -2), slice(2, 99)):
        bounds = ":".join("" if b is None else str(b) for b in (cut.start, cut.stop, cut.step))
        initdsl.apply(filled(net), f"net.{name}[{bounds}].bias? = 0")
        chosen = list(held._modules.values())[cut]
        assert all(bool((m.bias == 0).all()) is (m in chosen) for m in held._modules.values() if m is not None)
    initdsl.apply(net, f"net.{name}[i].bias = 10 * i; net.{name}[i].weight = len(net.{name})")
    for k, child in enumerate(held._modules.values()):
        assert child is None or (child.bias.item(), child.weight.item()) == (10 * k, count)


def test_places_of_a_parameter_list() -> None:
    net = filled(Gaps())
    initdsl.apply(
        net, "net.scales[i] = i; net.scales[2] += 10; net.scales[-1] += 100; net.layers[0].bias = len(net.scales)"
    )
    assert [net.scales[0].item(), net.scales[2].item(), net.layers[0].bias.item()] == [0, 112, 3]


def test_labels_of_lists_with_places_that_are_none_lead_back() -> None:
    net = Gaps()
    described, _ = describe(net)
    for network in (described, Network.from_manifest(json.loads(json.dumps(described.to_manifest())))):
        plan = initdsl.plan(network, "*.* = 1; net.scales[*] = 1")
        for entry in plan.entries:
            again = initdsl.plan(network, f"{entry.label} = 2")
            assert [e.name for e in again.entries if e.edits or e.base] == [entry.name]


def test_nothing_is_selected_in_a_place_that_is_none() -> None:
    plan = initdsl.plan(Gaps(), "net.layers[1].bias = 7")
    assert [(d.name, d.message) for d in plan.warnings] == [("unmatched-selector", "`net.layers[1]` is none")]


def test_order_is_the_containers_not_the_keys() -> None:
    net = nn.Sequential(OrderedDict([("1", nn.Linear(2, 2)), ("0", nn.Linear(2, 2))]))
    initdsl.apply(filled(net), "net[0].weight = 0")
    assert not net[0].weight.any()
    assert net[1].weight.all()


class TestIntegerKeys:
    """A ModuleDict with integer keys goes by key, as in a pipeline stage that holds layers 8 to 15."""

    def net(self) -> nn.Module:
        net = nn.Module()
        net.layers = nn.ModuleDict({str(i): nn.Linear(2, 2, bias=False) for i in range(8, 16)})
        return filled(net)

    def chosen(self, rules: str) -> set[int]:
        return {int(name.split(".")[1]) for name in written(self.net(), rules)}

    def test_key(self) -> None:
        assert self.chosen("net.layers[8].weight = 0") == {8}

    def test_slice(self) -> None:
        assert self.chosen("net.layers[10:12].weight = 0") == {10, 11}
        assert self.chosen("net.layers[0:10].weight = 0") == {8, 9}
        assert self.chosen("net.layers[12:].weight = 0") == {12, 13, 14, 15}
        assert self.chosen("net.layers[8::3].weight = 0") == {8, 11, 14}

    def test_a_slice_by_steps_from_the_first_is_another_in_the_whole_network(self) -> None:
        with pytest.raises(initdsl.ResolveError, match="another one in the whole model") as caught:
            initdsl.plan(self.net(), "net.layers[::4].weight = 0")
        assert names_of(caught.value) == ["index-in-a-part"]

    @pytest.mark.parametrize("cut", ["-1:", ":-1", "::-1"])
    def test_a_slice_goes_upwards(self, cut: str) -> None:
        with pytest.raises(initdsl.ResolveError, match="sliced upwards, from 0") as caught:
            initdsl.apply(self.net(), f"net.layers[{cut}].weight = 0")
        assert names_of(caught.value) == ["bad-index"]
        assert caught.value.diagnostics[0].span.start == len("net.layers[")

    def test_bound(self) -> None:
        net = self.net()
        initdsl.apply(net, "net.layers[i].weight = i")
        for key, layer in net.layers.items():
            assert (layer.weight == int(key)).all()

    def test_every(self) -> None:
        assert self.chosen("net.layers[*].weight = 0") == set(range(8, 16))

    @pytest.mark.parametrize("index", ["0", "16", "-1"])
    def test_no_such_key(self, index: str) -> None:
        with pytest.raises(initdsl.ResolveError) as caught:
            initdsl.apply(self.net(), f"net.layers[{index}].weight = 0")
        assert names_of(caught.value) == ["unmatched-selector"]

    def test_by_name(self) -> None:
        assert self.chosen('net.layers["9"].weight = 0') == {9}
        assert self.chosen("net.layers.9.weight = 0") == {9}


def test_odd_names() -> None:
    net = nn.Module()
    net.heads = nn.ModuleDict({"seg-1": nn.Linear(2, 2), "in": nn.Linear(2, 2), "default": nn.Linear(2, 2)})
    net.params = nn.ParameterDict({"a b": torch.ones(2), "net": torch.ones(2)})
    net.several = nn.ParameterList([torch.ones(2), torch.ones(2), torch.ones(2)])
    rules = """
        net.heads["seg-1"].weight = 1
        net.heads.in.weight = 2; net.heads["in"].bias = 3
        net.heads.default.weight = 4
        net.params["a b"] = 5; net.params.net = 6
        net.several[-1] = 8; net.several[i] += i
    """
    initdsl.apply(filled(net), rules)
    assert [net.heads[k].weight[0, 0].item() for k in ("seg-1", "in", "default")] == [1, 2, 4]
    assert net.heads["in"].bias[0] == 3
    assert [net.params[k][0].item() for k in ("a b", "net")] == [5, 6]
    assert [p[0].item() for p in net.several] == [7, 8, 10]


class TestBoundIndices:
    def test_used_on_the_right(self) -> None:
        net = Tower(4)
        initdsl.apply(net, "net.layers[i].proj.weight = 1 / sqrt(2 * (i + 1))")
        for i, layer in enumerate(net.layers):
            expected = torch.full((4, 4), (2 * (i + 1)) ** -0.5)
            torch.testing.assert_close(layer.proj.weight.detach(), expected)

    def test_used_in_predicates(self) -> None:
        assert written(Tower(), "net.layers[i](number=i).proj.bias = 0") == {f"layers.{i}.proj.bias" for i in range(3)}
        assert written(Tower(), "net.layers[i](number<1).proj.bias = 0") == {"layers.0.proj.bias"}

    def test_the_same_name_is_the_same_index(self) -> None:
        net = nn.Module()
        net.rows = nn.ModuleList(nn.ModuleList(nn.Linear(1, 1) for _ in range(3)) for _ in range(3))
        assert written(net, "net.rows[i][i].weight = 0") == {f"rows.{i}.{i}.weight" for i in range(3)}
        assert len(written(net, "net.rows[i][j].weight = i + 10 * j")) == 9
        assert net.rows[2][1].weight == 12

    def test_restart_in_each_stage(self) -> None:
        net = nn.Module()
        net.stages = nn.ModuleList()
        for size in (1, 3):
            stage = nn.Module()
            stage.blocks = nn.ModuleList(nn.Linear(1, 1) for _ in range(size))
            net.stages.append(stage)
        initdsl.apply(net, "net.stages[s].blocks[i].weight = 10 * s + i")
        assert [b.weight.item() for stage in net.stages for b in stage.blocks] == [0, 10, 11, 12]

    def test_stay_bound_in_blocks(self) -> None:
        net = Tower()
        initdsl.apply(net, "net.layers[i] { .proj.bias = i; Linear.weight = 10 * i; LayerNorm { .bias = -i } }")
        for i, layer in enumerate(net.layers):
            assert (layer.proj.bias == i).all()
            assert (layer.proj.weight == 10 * i).all()
            assert (layer.norm.bias == -i).all()

    def test_through_in(self) -> None:
        net = Tower()
        initdsl.apply(net, "Linear.weight in net.layers[i] = i; Linear.bias not in net.head = 9")
        for i, layer in enumerate(net.layers):
            assert (layer.proj.weight == i).all()

    def test_nested_bindings_that_differ(self) -> None:
        net = nn.Module()
        net.rows = nn.ModuleList(nn.ModuleList(nn.Linear(1, 1) for _ in range(2)) for _ in range(2))
        initdsl.apply(net, "net.rows[i] { [j] { .weight = 10 * i + j } }")
        assert [[c.weight.item() for c in row] for row in net.rows] == [[0, 1], [10, 11]]
        initdsl.apply(filled(net), "net.rows[i] { [i].weight = i }")
        assert [[c.weight.item() for c in row] for row in net.rows] == [[0, 7], [7, 1]]

    def test_let_cannot_be_bound(self) -> None:
        with pytest.raises(initdsl.ResolveError) as caught:
            initdsl.apply(Tower(), "let i = 1; net.layers[i].proj.weight = 0")
        assert names_of(caught.value) == ["bound-let"]

    def test_last_bracket_of_a_parameter_is_evaluated(self) -> None:
        net = filled(Tower())
        initdsl.apply(net, "Embedding.weight[padding_idx] = 0")
        assert (net.embed.weight[2] == 0).all()
        assert (net.embed.weight[[0, 1, 3, 4, 5]] == 7).all()

    def test_an_index_that_is_none_selects_nothing(self) -> None:
        net = filled(nn.Sequential(nn.Embedding(3, 2), nn.Embedding(3, 2, padding_idx=1)))
        initdsl.apply(net, "Embedding.weight[padding_idx] = 0")
        assert (net[0].weight == 7).all()
        assert (net[1].weight == torch.tensor([[7.0], [0.0], [7.0]])).all()


class TestPieces:
    """`[*]` and `as`: each piece is a tensor of its own, with its own fans, shape and `it`."""

    def test_every_expert(self) -> None:
        net = Tensors(down=torch.zeros(3, 4, 4))
        initdsl.apply(net, "net.down[*] ~ orthogonal()")
        for piece in net.down:
            torch.testing.assert_close(piece @ piece.T, torch.eye(4), atol=1e-5, rtol=0)

    def test_bit_for_bit_one_call_a_piece(self) -> None:
        net = Tensors(w=torch.zeros(3, 8, 5))
        torch.manual_seed(3)
        initdsl.apply(net, "net.w[*] ~ xavier_uniform()")
        torch.manual_seed(3)
        for piece in net.w:
            expected = nn.init.xavier_uniform_(torch.empty(8, 5))
            assert torch.equal(piece, expected)

    def test_gates_of_an_lstm(self) -> None:
        net = nn.LSTM(5, 6)
        initdsl.apply(net, "LSTM.weight_hh_l* as (4, hidden_size, -1)[*] ~ orthogonal()")
        for gate in net.weight_hh_l0.reshape(4, 6, 6):
            torch.testing.assert_close(gate @ gate.T, torch.eye(6), atol=1e-5, rtol=0)

    def test_query_key_value(self) -> None:
        class Attention(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.dim = 4
                self.qkv = nn.Linear(4, 12)

        net = Attention()
        torch.manual_seed(5)
        initdsl.apply(net, "Attention.qkv.weight as (3, dim, -1)[*] ~ xavier_uniform()")
        torch.manual_seed(5)
        expected = torch.cat([nn.init.xavier_uniform_(torch.empty(4, 4)) for _ in range(3)])
        assert torch.equal(net.qkv.weight, expected)

    def test_facts_are_the_pieces(self) -> None:
        net = Tensors(w=torch.zeros(6, 5))
        initdsl.apply(
            net, "net.w as (2, 3, 5)[*] = fan_in + 10 * fan_out + 100 * ndim + 1000 * numel + 100000 * shape[0]"
        )
        assert (net.w == 5 + 30 + 200 + 15000 + 300000).all()
        initdsl.apply(net, "net.w[0:2] = fan_out; net.w[2] = numel")
        assert (net.w[:2] == 2).all()
        assert (net.w[2] == 5).all()
        initdsl.apply(net, "net.w = 1; net.w[*] = it * index(0)")
        assert (net.w == torch.arange(5.0)).all()

    def test_view_of_a_transposed_parameter(self) -> None:
        net = Tensors(w=torch.zeros(4, 6).t())
        assert not net.w.is_contiguous()
        initdsl.apply(net, "net.w as (3, 2, 4)[1] = 5; net.w as (2, 12)[0] += 1")
        seen = net.w.detach().contiguous()
        expected = torch.zeros(3, 2, 4)
        expected[1] = 5
        expected.view(2, 12)[0] += 1
        assert torch.equal(seen.reshape(3, 2, 4), expected)
        assert not net.w.is_contiguous()

    def test_channels_last(self) -> None:
        conv = nn.Conv2d(4, 4, 3).to(memory_format=torch.channels_last)
        initdsl.apply(conv, "Conv2d.weight as (4, -1) = index(0) * 100 + index(1)")
        expected = torch.arange(4.0)[:, None] * 100 + torch.arange(36.0)
        assert torch.equal(conv.weight.detach().contiguous().reshape(4, 36), expected)
        assert conv.weight.is_contiguous(memory_format=torch.channels_last)

    @pytest.mark.parametrize(
        ("rule", "name"),
        [
            ("net.w as (4, -1) = 0", "bad-shape"),
            ("net.w as (-1, -1) = 0", "bad-shape"),
            ("net.w as (0, -1) = 0", "bad-shape"),
            ("net.w as (1.5, -1) = 0", "bad-shape"),
            ("net.w as (2, 3) = 0", "bad-shape"),
            ("net.w[0] as (5, 1) = 0", "bad-index"),
            ("net.w[*, ...] = 0", "bad-index"),
            ("net.w[*, *, *] = 0", "bad-index"),
        ],
    )
    def test_what_does_not_fit(self, rule: str, name: str) -> None:
        with pytest.raises(initdsl.ResolveError) as caught:
            initdsl.apply(Tensors(w=torch.zeros(6, 5)), rule)
        assert names_of(caught.value) == [name]


def test_a_name_selects_buffers_and_a_glob_does_not() -> None:
    net = filled(nn.Sequential(nn.BatchNorm2d(3)))
    net[0].running_mean.fill_(7)
    initdsl.apply(net, "BatchNorm2d.running_mean = 3; BatchNorm2d.num_batches_tracked = 5")
    assert (net[0].running_mean == 3).all()
    assert net[0].num_batches_tracked == 5
    rules = "*.* = 0; net.** = 1; /./ = 2; BatchNorm2d.running_*? = 0"
    assert written(net, rules) == {"0.weight", "0.bias"}


@pytest.mark.parametrize(
    ("conditions", "found"), [
        ("in_features=4, out_features=8", ["net[1].weight"]), ("out_features=8, in_features=4", ["net[1].weight"]),
        ("out_features=8, in_features>3", ["net[1].weight"]), ("in_features=4", ["net[0].weight", "net[1].weight"]),
        ("in_features=2, out_features=8", []),
    ],
)  # fmt: skip
def test_all_conditions_hold(conditions: str, found: list[str]) -> None:
    net = nn.Sequential(nn.Linear(4, 2), nn.Linear(4, 8), nn.Linear(2, 4))
    plan = initdsl.plan(net, f"keep Linear({conditions}).weight?")
    assert [entry.label for entry in plan.entries if entry.status == "kept"] == found


def test_a_parameter_beside_modules_is_no_container() -> None:
    net = nn.ModuleDict({"up": nn.Linear(2, 2)})
    net.register_parameter("gain", nn.Parameter(torch.ones(2)))
    kept = [entry.name for entry in initdsl.plan(net, "keep *.* not in net.*") if entry.status == "kept"]
    assert kept == ["gain"]


def test_subclasses_are_filled_in_the_order_of_the_network() -> None:
    net = nn.Sequential(nn.Linear(2, 2), Derived(2, 2), nn.Linear(2, 2), Derived(2, 2))
    torch.manual_seed(0)
    initdsl.apply(net, "Linear+.* ~ normal(0, 1)")
    torch.manual_seed(0)
    for parameter in net.parameters():
        assert torch.equal(parameter, nn.init.normal_(torch.empty_like(parameter), 0, 1))


@pytest.mark.parametrize("container", ["net", "net[19]"])
def test_an_index_in_front_of_in_is_evaluated_anew(container: str) -> None:
    net = filled(nn.Sequential(*[nn.Linear(1, 1) for _ in range(20)]))
    initdsl.apply(net, f"let k = 10; net[k:].weight in {container} = 1; let k = 0; net[k:].weight in {container} = 2")
    assert [layer.weight.item() for layer in net] == [2 if i == 19 or container == "net" else 7 for i in range(20)]


def test_a_selector_that_can_t_be_evaluated_hides_nothing_of_its_rule() -> None:
    with pytest.raises(initdsl.InitDSLError) as caught:
        initdsl.apply(mlp(), "net[it].weight ~ normal(stdev=1)")
    assert names_of(caught.value) == ["bound-name", "unknown-argument"]


def test_only_subclasses_there_is_an_error() -> None:
    class MyNorm(nn.LayerNorm):
        pass

    with pytest.raises(initdsl.ResolveError) as caught:
        initdsl.apply(nn.Sequential(MyNorm(2), MyNorm(3)), "LayerNorm.weight = 1")
    found = caught.value.diagnostics[0]
    assert found.name == "subclass-left-out"
    assert "0 of 2" in found.message
    assert found.hint == "`LayerNorm+` would"


def test_a_class_that_is_not_there_is_a_warning() -> None:
    with pytest.warns(initdsl.UnmatchedRuleWarning, match=r"no `Linaer`.*did you mean `Linear`"):
        report = initdsl.apply(mlp(), "Linaer.weight = 0; *.* = 1")
    assert report.unmatched == ["Linaer"]
    with pytest.warns(initdsl.UnmatchedRuleWarning, match="no `Conv2d` in this model"):
        initdsl.apply(mlp(), "Conv2d(groups=1).weight = 0; *.* = 1")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert initdsl.apply(mlp(), "Linaer.weight? = 0; *.* = 1").unmatched == []


def test_attributes_are_never_properties() -> None:
    class Sly(nn.Linear):
        @property
        def width(self) -> int:
            raise AssertionError("a property ran")

        def __getattr__(self, name: str) -> object:
            if name == "sly":
                raise AssertionError("code ran")
            return super().__getattr__(name)

    for rule in ("Sly(width=3).weight = 0", "Sly.weight = width", "Sly.weight = sly", "Sly(sly).weight = 0"):
        with pytest.raises(initdsl.InitDSLError):
            initdsl.apply(Sly(2, 2), rule)


def test_blocks() -> None:
    net = filled(Tower())
    rules = """
    net.layers[0], net.layers[1] {
      .proj.weight = 1          # continues the block's selector
      LayerNorm.bias = 2        # anything inside
      .attn { .out_proj.bias = 3; NonDynamicallyQuantizableLinear.weight = 4 }
      let k = 5
      .**.in_proj_bias = k
    }
    """
    initdsl.apply(net, rules)
    for i, layer in enumerate(net.layers):
        inside = i < 2
        assert bool((layer.proj.weight == 1).all()) is inside
        assert bool((layer.norm.bias == 2).all()) is inside
        assert bool((layer.attn.out_proj.bias == 3).all()) is inside
        assert bool((layer.attn.out_proj.weight == 4).all()) is inside
        assert bool((layer.attn.in_proj_bias == 5).all()) is inside


def test_a_block_of_a_list_continues_by_index() -> None:
    assert written(Tower(), "net.layers { [0].proj.bias = 0; [1:] { .norm.bias = 1 } }") == {
        "layers.0.proj.bias",
        "layers.1.norm.bias",
        "layers.2.norm.bias",
    }


def test_class_then_path() -> None:
    assert written(Tower(), "Block.attn.out_proj.weight = 0") == {f"layers.{i}.attn.out_proj.weight" for i in range(3)}
    assert written(Tower(), "Block(number>=1).norm.* = 0") == {
        f"layers.{i}.norm.{p}" for i in (1, 2) for p in ("weight", "bias")
    }


def test_a_selection_survives_deepcopy_of_the_net() -> None:
    net = Tower()
    twin = copy.deepcopy(net)
    rules = initdsl.parse("Block.proj.weight ~ normal(0, 1)")
    torch.manual_seed(0)
    initdsl.apply(net, rules)
    torch.manual_seed(0)
    initdsl.apply(twin, rules)
    for a, b in zip(net.parameters(), twin.parameters(), strict=True):
        assert torch.equal(a, b)


def test_block_is_a_module_of_its_own_kind() -> None:
    assert isinstance(Tower().layers[0], Block)


@pytest.mark.parametrize("rules", [
    "net[5] { Linear.weight = 1 }", "Linear.weight in net[5] = 1", "net[5] { /weight$/ = 1 }", "/weight$/ in net[5] = 1",
    "net[5:6] { *.weight = 1 }", "net[i] { Linear.weight = i == 5 } net[i] { LayerNorm.weight = i == 5 }",
    "*.weight in net[4:8] = 1; (Linear.weight, LayerNorm.weight) in (net[4], net[6:8]) = 0",
    "net[5] { Linear.weight in net[5][1] = 1; net[5][0].weight = 1 }", "net[5].twin { Linear.weight = 1 } Linear.weight in net[5] = 1",
    "net[3:7] { net[5] { *.weight = 1 } }", "*.weight in net[5] not in net[4] = 1",
    "net[5] { *.* = 1; *.bias = 0 }",
])  # fmt: skip
def test_a_small_part_of_a_large_network(rules: str) -> None:
    """What lies in a block does not depend on how much lies outside of it."""
    net = nn.Sequential(*(nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2)) for _ in range(12)))
    net[5].add_module("twin", net[5][0])  # shared within
    if "LayerNorm" not in rules and "/" not in rules and "*" not in rules:
        net[5][1] = nn.Linear(2, 2)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
    initdsl.apply(net, rules)
    ones = {name for name, p in net.named_parameters() if bool((p == 1).any())}
    assert ones == {"5.0.weight", "5.1.weight"}


ODD = ["a b", 'a"b', "a\\b", "new\nline", "\t", "\x00", "\x7f", "\u202e", "\u2028", "\U000e0001", "é", "😀", "1", "[*]"]


@pytest.mark.parametrize("name", ODD)
def test_a_label_is_a_path_to_what_it_names(name: str) -> None:
    net = nn.ModuleDict(
        {name: nn.ParameterDict({name: nn.Parameter(torch.zeros(2)), "other": nn.Parameter(torch.zeros(2))})}
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (label,) = [e.label for e in initdsl.plan(net, "*.* = 1").entries if not e.name.endswith("other")]
        initdsl.apply(net, f"{label} = 1")
    assert (net[name][name] == 1).all()
    assert (net[name]["other"] == 0).all()
