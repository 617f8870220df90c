"""A module's state, parameters and persistent buffers, in every statement that takes a module; against `load_state_dict`."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils import parametrizations

import initdsl
from tests.support.nets import names_of, same, snapshot

pytestmark = pytest.mark.filterwarnings("ignore::initdsl.UncoveredParameterWarning")


class FrozenNorm(nn.Module):
    """Buffers alone, as torchvision's FrozenBatchNorm2d."""

    def __init__(self, n: int):
        super().__init__()
        for name in ("weight", "bias", "running_mean", "running_var"):
            self.register_buffer(name, torch.ones(n))


class Rope(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("inv_freq", torch.ones(4), persistent=False)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
        self.bare = nn.BatchNorm1d(4, affine=False)
        self.frozen = FrozenNorm(4)
        self.rope = Rope()
        self.act = nn.ReLU()
        self.norm = parametrizations.spectral_norm(nn.Linear(4, 4))
        self.head = nn.Linear(4, 2)


def trained() -> Net:
    """Every tensor of the state with values of its own."""
    net = Net()
    for number, tensor in enumerate((*net.parameters(), *net.buffers())):
        with torch.no_grad():
            tensor.copy_(torch.arange(tensor.numel()).view(tensor.shape) + 100 * number)
    return net


def state_dicts_equal(a: nn.Module, b: nn.Module) -> None:
    ours, theirs = a.state_dict(), b.state_dict()
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name


@pytest.mark.parametrize("seed", [None, 3])
def test_a_module_is_loaded_as_load_state_dict_loads_it(tmp_path: Path, seed: int | None) -> None:
    source = trained()
    save_file(source.state_dict(), tmp_path / "x.safetensors")
    net, theirs = Net(), Net()
    report = initdsl.apply(net, 'net = load("x.safetensors")', strict=True, root=tmp_path, seed=seed)
    theirs.load_state_dict(source.state_dict())
    state_dicts_equal(net, theirs)
    assert not report.plan.notes
    assert initdsl.verify(net, 'net = load("x.safetensors")', root=tmp_path)
    net.frozen.running_mean[1] = 7
    assert [c.name for c in initdsl.verify(net, 'net = load("x.safetensors")', root=tmp_path).drifted] == [
        "frozen.running_mean"
    ]


def test_materialize_and_stream_load_buffers(tmp_path: Path) -> None:
    source = trained()
    save_file(source.state_dict(), tmp_path / "x.safetensors")
    rules = 'net = load("x.safetensors")'
    state_dicts_equal(initdsl.materialize(Net, rules, seed=0, root=tmp_path), source)
    initdsl.stream(Net, rules, tmp_path / "out", seed=0, root=tmp_path)
    net = Net()
    initdsl.apply(net, 'net = load("out/model.safetensors")', root=tmp_path)
    state_dicts_equal(net, source)


def test_a_function_of_one_module_loads_buffers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source = trained()
    save_file(source.state_dict(), tmp_path / "x.safetensors")
    net = Net()
    net.apply(initdsl.parse('net = load("x.safetensors")').as_init_fn(net))
    state_dicts_equal(net, source)


def test_a_pickled_state_dict_too(tmp_path: Path) -> None:
    source = trained()
    torch.save(source.state_dict(), tmp_path / "x.pt")
    net = Net()
    initdsl.apply(net, 'net.frozen = load("x.pt"); net.bare = load("x.pt", prefix="bare.")', root=tmp_path)
    for name, tensor in net.state_dict().items():
        if name.startswith(("frozen.", "bare.")):
            assert torch.equal(tensor, source.state_dict()[name])


def test_a_buffer_that_the_file_lacks_is_an_error_but_for_the_count_of_batches(tmp_path: Path) -> None:
    state = trained().state_dict()
    del state["bare.num_batches_tracked"]
    save_file(state, tmp_path / "x.safetensors")
    report = initdsl.apply(Net(), 'net = load("x.safetensors")', root=tmp_path)
    assert ["bare.num_batches_tracked" in note.message for note in report.plan.notes] == [True]
    Net().load_state_dict(dict(state))  # torch says nothing either
    del state["frozen.bias"]
    save_file(state, tmp_path / "x.safetensors")
    net = Net()
    before = snapshot(net)
    with pytest.raises(initdsl.InitDSLError, match=r"has no tensor `frozen\.bias`"):
        initdsl.apply(net, 'net = load("x.safetensors")', root=tmp_path)
    same(before, snapshot(net))
    report = initdsl.apply(net, 'net = load("x.safetensors", missing=skip)', root=tmp_path)
    assert "`frozen.bias`" in str(report)


def test_what_no_rule_reads_is_said(tmp_path: Path) -> None:
    save_file({**trained().state_dict(), "old.bias": torch.zeros(1)}, tmp_path / "x.safetensors")
    (note,) = initdsl.plan(Net(), 'net = load("x.safetensors")', root=tmp_path).notes
    assert note.name == "unread-tensors"
    assert "`old.bias`" in note.message


# ---- copy, tie, keep


def test_copies_are_of_buffers_too() -> None:
    pair = nn.ModuleDict({"q": trained(), "k": Net()})
    initdsl.apply(pair, "keep net.q; copy net.q net.k", strict=True)
    state_dicts_equal(pair["q"], pair["k"])
    assert pair["q"].bare.running_mean is not pair["k"].bare.running_mean


def test_tied_modules_share_buffers_too() -> None:
    pair = nn.ModuleDict({"q": trained(), "k": Net()})
    initdsl.apply(pair, "tie net.q net.k; keep net; expect tied net.q net.k", strict=True)
    state_dicts_equal(pair["q"], pair["k"])
    q, k = dict(pair["q"].named_buffers()), dict(pair["k"].named_buffers())
    assert all(q[name] is k[name] for name in q if name != "rope.inv_freq")
    assert set(pair.state_dict()) == {f"{at}.{name}" for at in "qk" for name in Net().state_dict()}
    function = nn.ModuleDict({"q": trained(), "k": Net()})
    function.apply(initdsl.parse("tie net.q net.k; keep net").as_init_fn(function))


def test_kept_buffers_are_kept() -> None:
    net = trained()
    before = copy.deepcopy(net.state_dict())
    initdsl.apply(net, "default net.stem; default net.bare; keep net.stem[1]; keep net.bare.running_mean")
    after = net.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in after if name.startswith("stem.1."))
    assert torch.equal(after["bare.running_mean"], before["bare.running_mean"])
    assert after["bare.running_var"].tolist() == [1, 1, 1, 1]


# ---- default


@pytest.mark.parametrize("seed", [None, 3])
@pytest.mark.parametrize("affine", [True, False])
def test_statistics_begin_anew(affine: bool, seed: int | None) -> None:
    norm = nn.BatchNorm1d(4, affine=affine)
    norm(torch.randn(8, 4) * 3 + 5)
    fresh = nn.BatchNorm1d(4, affine=affine)
    initdsl.apply(net := nn.Sequential(norm), "default BatchNorm1d", strict=True, seed=seed)
    state_dicts_equal(norm, fresh)
    assert initdsl.verify(net, "default BatchNorm1d", seed=3 if seed is None else seed)


@pytest.mark.parametrize("seed", [None, 3])
def test_a_parameters_default_leaves_the_buffers_beside_it(seed: int | None) -> None:
    norm = nn.BatchNorm1d(4)
    norm(torch.randn(8, 4) * 3 + 5)
    before = copy.deepcopy(norm.state_dict())
    initdsl.apply(norm, "BatchNorm1d.* = 5; default net.weight; keep net.bias", seed=seed)
    after = norm.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in after if name not in ("weight", "bias"))
    assert after["weight"].tolist() == [1, 1, 1, 1]


class Shifted(nn.Module):
    """A reset that draws, and that sets a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3))
        self.register_buffer("shift", torch.zeros(3))
        self.register_buffer("seen", torch.full((3,), 9.0))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        with torch.no_grad():
            self.weight.normal_()
        self.shift.fill_(2)


def test_a_reset_for_buffers_alone_moves_no_random_state() -> None:
    nets = [nn.Sequential(Shifted(), nn.Linear(3, 3)) for _ in range(2)]
    nets[0][0].shift.fill_(5)
    torch.manual_seed(0)
    initdsl.apply(nets[0], "default net[0]; net[0].weight = 1; Linear.weight ~ normal(0, 1)")
    torch.manual_seed(0)
    nn.init.normal_(nets[1][1].weight)
    assert torch.equal(nets[0][1].weight, nets[1][1].weight)
    assert nets[0][0].shift.tolist() == [2, 2, 2]
    assert nets[0][0].weight.tolist() == [1, 1, 1]


@pytest.mark.parametrize("seed", [None, 3])
def test_a_buffer_that_the_reset_leaves_alone_stays(seed: int | None) -> None:
    net = nn.Sequential(Shifted())
    net[0].shift.fill_(5)
    initdsl.apply(net, "default net", strict=True, seed=seed)
    assert (net[0].shift.tolist(), net[0].seen.tolist()) == ([2, 2, 2], [9, 9, 9])
    made = initdsl.materialize(lambda: nn.Sequential(Shifted()), "default net", seed=seed)
    assert (made[0].shift.tolist(), made[0].seen.tolist()) == ([2, 2, 2], [9, 9, 9])


def test_norms_built_on_the_meta_device_get_their_statistics() -> None:
    def build() -> nn.Module:
        with torch.device("meta"):
            return nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))

    state_dicts_equal(initdsl.materialize(build, "default net", seed=0)[1], nn.BatchNorm1d(4))


# ---- coverage


@pytest.mark.parametrize(
    ("rules", "holds"),
    [
        ("*.* = 1; expect net covered", True),
        ("expect net.frozen covered", False),
        ("keep net.frozen; expect net.frozen covered", True),
        ("expect net.bare.running_mean covered", False),
        ("default net.bare; expect net.bare.running_mean covered; expect net.bare covered", True),
        ("net.frozen.weight[0] = 1; keep net.frozen.bias; expect net.frozen covered", False),
    ],
)
def test_what_covers_buffers(rules: str, holds: bool) -> None:
    if holds:
        initdsl.plan(Net(), rules)
        return
    with pytest.raises(initdsl.ResolveError) as caught:
        initdsl.plan(Net(), rules)
    assert names_of(caught.value) == ["unmet-expectation"]


def test_buffers_need_no_cover() -> None:
    assert not initdsl.plan(Net(), "*.* = 1", strict=True).uncovered


# ---- nothing to do


@pytest.mark.parametrize(
    "rules",
    [
        "default Rope", "keep Rope", "default ReLU", "copy net.rope net.rope", "tie net.rope net.rope", "keep net.act",
        'net.act = load("no-such-file.safetensors")', 'Rope = load("no-such-file.safetensors")', "expect net.act covered",
        "expect net.rope finite", "expect ReLU mean = 0", "default net.frozen", "keep net.head, net.act", "keep ReLU, Linear",
        "net.act, net.head = load(\"x.safetensors\", missing=skip)", "expect tied net.act net.act", "Net { keep .act }",
        "expect net.frozen std = 0", "default net.frozen.bias",
    ],
)  # fmt: skip
def test_a_statement_with_nothing_to_do_is_an_error(rules: str) -> None:
    net = Net()
    before = snapshot(net)
    with pytest.raises(initdsl.InitDSLError) as caught:
        initdsl.apply(net, f"*.* = 1\n{rules}")
    assert names_of(caught.value)[0] in ("nothing-to-do", "no-default")
    same(before, snapshot(net))


@pytest.mark.parametrize(
    "rules", ["keep ReLU?", "default Rope?", 'net.act? = load("x.safetensors")', "default net", "keep net.*"]
)
def test_what_may_have_nothing(rules: str) -> None:
    net: Any = nn.Sequential(nn.Linear(2, 2))
    net.act, net.rope = nn.ReLU(), Rope()
    initdsl.plan(net, rules)


# ---- one naming for a statement


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.lin = nn.LayerNorm(4), nn.Linear(4, 4)


class Stack(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers, self.norm = nn.ModuleList([Layer(), Layer()]), nn.LayerNorm(4)


def stacked(folder: Path) -> dict[str, torch.Tensor]:
    net = Stack()
    with torch.no_grad():
        for number, parameter in enumerate(net.parameters()):
            parameter.fill_(number)
    save_file(net.state_dict(), folder / "full.safetensors")
    return net.state_dict()


@pytest.mark.parametrize(
    "target", ["net.layers[1]", "net.layers[0:2]", "Layer", "net.layers[*]", "Layer in net", "Layer.norm.*"]
)
@pytest.mark.parametrize("names", ["", ", names=full"])
def test_names_are_full_or_relative_and_never_mixed(tmp_path: Path, target: str, names: str) -> None:
    state = stacked(tmp_path)
    net = Stack()
    rules = f'{target} = load("full.safetensors"{names})'
    if not names:
        with pytest.raises(initdsl.ResolveError, match="names=full") as caught:
            initdsl.apply(net, rules, root=tmp_path)
        assert names_of(caught.value) == ["ambiguous-name"]
        return
    report = initdsl.apply(net, rules, root=tmp_path)
    loaded = [entry for entry in report if entry.status == "set"]
    assert loaded
    assert all(torch.equal(report.plan.network and net.state_dict()[e.name], state[e.name]) for e in loaded)
    assert all(f"{e.name} of full.safetensors" in str(report.plan.explain(e.name)) for e in loaded)


def test_full_names_where_none_is_relative(tmp_path: Path) -> None:
    state = stacked(tmp_path)
    net = Stack()
    initdsl.apply(net, 'net.layers = load("full.safetensors")', root=tmp_path)
    assert all(torch.equal(net.state_dict()[n], state[n]) for n in state if n.startswith("layers."))
    one = {name.removeprefix("layers.1."): t for name, t in state.items() if name.startswith("layers.1.")}
    save_file(one, tmp_path / "one.safetensors")
    report = initdsl.apply(net, 'Layer = load("one.safetensors")', root=tmp_path)
    assert torch.equal(net.layers[0].lin.weight, net.layers[1].lin.weight)
    assert "lin.weight of one.safetensors" in str(report)


def test_a_plan_says_what_is_loaded_where_the_name_is_another(tmp_path: Path) -> None:
    stacked(tmp_path)
    own = str(initdsl.plan(Stack(), 'net = load("full.safetensors", missing=skip)', root=tmp_path))
    assert " of full.safetensors" not in own
    assert "values" not in own
    path = 'let file = "full.safetensors"; net = load(file, missing=skip)'
    assert "layers.0.lin.weight of full.safetensors" in str(initdsl.plan(Stack(), path, root=tmp_path))


# ---- shapes


def test_pretrained_weights_and_a_new_head(tmp_path: Path) -> None:
    source = trained()
    source.head = nn.Linear(4, 9)
    save_file(source.state_dict(), tmp_path / "x.safetensors")
    with pytest.raises(initdsl.InitDSLError) as caught:
        initdsl.apply(Net(), 'net = load("x.safetensors")', root=tmp_path)
    assert "mismatch=skip" in str(caught.value)
    assert "net.* not in net.head = load(...)" in str(caught.value)
    for rules in ('net = load("x.safetensors", mismatch=skip)', 'net.* not in net.head = load("x.safetensors")'):
        net = Net()
        report = initdsl.apply(net, f"{rules}\nnet.head.* = 3", strict=True, root=tmp_path)
        state = net.state_dict()
        assert all(torch.equal(state[n], t) for n, t in source.state_dict().items() if not n.startswith("head."))
        assert (net.head.weight == 3).all()
        assert "head.weight" in "".join(note.message for note in report.plan.notes)
    del (state := source.state_dict())["head.weight"], state["head.bias"]
    save_file(state, tmp_path / "x.safetensors")
    with pytest.raises(initdsl.InitDSLError, match=r"missing=skip(.|\n)*not in net\.head"):
        initdsl.apply(Net(), 'net = load("x.safetensors")', root=tmp_path)


def test_mismatch_of_everything_is_an_error(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(9), "bias": torch.zeros(9)}, tmp_path / "x.safetensors")
    with pytest.raises(initdsl.InitDSLError, match="nothing of what this selects"):
        initdsl.apply(nn.Linear(2, 2), 'net = load("x.safetensors", mismatch=skip)', root=tmp_path)


# ---- computed weights


def old_norm(module: nn.Module) -> nn.Module:
    normed: nn.Module = nn.utils.weight_norm(module)
    return normed


@pytest.mark.filterwarnings("ignore:.*weight_norm")
@pytest.mark.parametrize(
    "wrap", [parametrizations.weight_norm, parametrizations.spectral_norm, parametrizations.orthogonal, old_norm,
             nn.utils.spectral_norm],
)  # fmt: skip
def test_computed_weights_load_and_copy_by_what_they_are_computed_from(
    tmp_path: Path, wrap: Callable[[nn.Module], nn.Module]
) -> None:
    torch.manual_seed(0)
    source = nn.Sequential(wrap(nn.Linear(4, 4)))
    save_file({name: tensor.contiguous() for name, tensor in source.state_dict().items()}, tmp_path / "x.safetensors")
    net, theirs = nn.Sequential(wrap(nn.Linear(4, 4))), nn.Sequential(wrap(nn.Linear(4, 4)))
    initdsl.apply(net, 'net = load("x.safetensors")', root=tmp_path)
    theirs.load_state_dict(source.state_dict())
    state_dicts_equal(net, theirs)
    x = torch.randn(2, 4)
    assert torch.equal(net.eval()(x), theirs.eval()(x))
    pair = nn.ModuleDict({"a": wrap(nn.Linear(4, 4)), "b": wrap(nn.Linear(4, 4))})
    initdsl.apply(pair, "copy net.a net.b")
    state_dicts_equal(pair["a"], pair["b"])


def test_what_a_copy_leaves_of_its_source_is_said() -> None:
    net = nn.ModuleDict(
        {"a": nn.BatchNorm1d(3), "b": nn.BatchNorm1d(3, track_running_stats=False), "c": nn.BatchNorm1d(3)}
    )
    (note,) = initdsl.plan(net, "copy net.a net.b").notes
    assert (note.name, note.severity) == ("not-copied", "note")
    assert (
        note.message
        == "this copies all but `running_mean`, `running_var`, `num_batches_tracked`, which the target does not have"
    )
    assert not initdsl.plan(net, "copy net.a net.c").notes
    assert not initdsl.plan(net, "copy net.a.weight net.b.weight").notes
    initdsl.apply(net, "net.a.* = 3; copy net.a net.b")
    assert net["b"].weight.tolist() == [3, 3, 3]
