"""`default` of torch's own layers: what their resets give, with less around it, and by the usual way where that is not sure."""

from __future__ import annotations

import copy
import types
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, weight_norm

import initdsl
from initdsl.filling import steps, torch_resets
from initdsl.streams import torch_draws


class Every(nn.Module):
    """Each of torch's layers with a reset, some large enough for the kernel's draws."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(300, 301)
        self.small = nn.Linear(3, 2, bias=False)
        self.bilinear = nn.Bilinear(20, 30, 40)
        self.convs = nn.ModuleList([nn.Conv1d(64, 64, 3), nn.Conv2d(64, 65, 3, groups=1), nn.Conv3d(8, 16, 5)])
        self.turned = nn.ModuleList(
            [nn.ConvTranspose1d(64, 64, 3), nn.ConvTranspose2d(32, 64, 3), nn.ConvTranspose3d(8, 16, 5)]
        )
        self.embeddings = nn.ModuleList(
            [nn.Embedding(300, 50), nn.Embedding(300, 50, padding_idx=3), nn.EmbeddingBag(99, 100)]
        )
        self.norms = nn.ModuleList(
            [
                nn.LayerNorm(30),
                nn.GroupNorm(2, 30),
                nn.BatchNorm1d(30),
                nn.BatchNorm2d(30),
                nn.BatchNorm3d(30, affine=False),
            ]
        )
        self.instance = nn.InstanceNorm2d(30, affine=True, track_running_stats=True)
        self.recurrent = nn.ModuleList(
            [nn.LSTM(50, 60, 2, bidirectional=True), nn.GRU(50, 60), nn.RNN(30, 100), nn.LSTMCell(40, 50)]
        )
        self.attention = nn.MultiheadAttention(120, 4)
        self.encoder = nn.TransformerEncoderLayer(32, 4, 64)


def changed(net: nn.Module) -> nn.Module:
    """A model with no default value in it."""
    with torch.no_grad():
        for tensor in (*net.parameters(), *net.buffers()):
            tensor.fill_(7)
    return net


def same(one: nn.Module, other: nn.Module) -> list[str]:
    """The names of tensors that differ."""
    others = other.state_dict()
    return [name for name, value in one.state_dict().items() if not torch.equal(value, others[name])]


@pytest.fixture
def simple(monkeypatch: pytest.MonkeyPatch) -> dict[str, bool]:
    """Which modules were reset in the simple way, by name; the kernel has been tried, and draws few numbers too."""
    monkeypatch.setattr(torch_draws, "LEAST_TO_TRY", 1)
    found: dict[str, bool] = {}

    def watched(run: Any, index: int, tensors: tuple[int, ...]) -> bool:
        name = run.plan.network.modules[index].name
        found[name] = torch_resets.is_simple(run, index, tensors)
        return found[name]

    monkeypatch.setattr(steps, "is_simple", watched)
    return found


def usual(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "is_simple", lambda run, index, tensors: False)


def test_without_a_seed_they_are_what_torch_gives(simple: dict[str, bool]) -> None:
    net = changed(Every())
    other = copy.deepcopy(net)
    torch.manual_seed(5)
    initdsl.apply(net, "default net")
    state = torch.get_rng_state()
    torch.manual_seed(5)

    def reset(module: nn.Module) -> None:
        if isinstance(module, nn.MultiheadAttention):
            module._reset_parameters()
        elif hasattr(module, "reset_parameters"):
            module.reset_parameters()

    other.apply(reset)
    assert same(net, other) == []
    assert torch.equal(state, torch.get_rng_state())
    others = {name for name, done in simple.items() if not done}
    assert others == {"attention", "encoder.self_attn"}
    assert len(simple) > 25


@pytest.mark.parametrize("seed", [None, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_they_are_what_the_usual_way_gives(
    seed: int | None, dtype: torch.dtype, simple: dict[str, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    net = changed(Every()).to(dtype)
    others = [copy.deepcopy(net), copy.deepcopy(net)]
    torch.manual_seed(5)
    start = torch.get_rng_state()
    initdsl.apply(net, "default net", seed=seed)
    state = torch.get_rng_state()
    assert (seed is None) != torch.equal(state, start)
    torch.set_rng_state(start)
    made = initdsl.materialize(lambda: Every().to(dtype), "default net", seed=seed)
    usual(monkeypatch)
    torch.set_rng_state(start)
    initdsl.apply(others[0], "default net", seed=seed)
    assert torch.equal(state, torch.get_rng_state())
    assert same(net, others[0]) == []
    if seed is not None:
        assert same(net, made) == []
    assert simple["linear"] is (seed is None or dtype != torch.bfloat16)


def toggled(norm: Any) -> nn.Module:
    norm.track_running_stats = False
    return nn.Sequential(norm)


def with_another(layer: nn.Module) -> nn.Module:
    layer.register_parameter("extra", nn.Parameter(torch.zeros(3)))
    return nn.Sequential(layer)


class Own(nn.Linear):
    def reset_parameters(self) -> None:
        nn.init.constant_(self.weight, 2)
        nn.init.constant_(self.bias, 3)


class Derived(nn.Linear):
    pass


def overridden(layer: nn.Module) -> nn.Module:
    layer.reset_parameters = types.MethodType(Own.reset_parameters, layer)  # type: ignore[assignment]
    return nn.Sequential(layer)


def transposed(layer: nn.Linear) -> nn.Module:
    layer.weight = nn.Parameter(torch.zeros(20, 30).T)
    return nn.Sequential(layer)


USUAL: dict[str, tuple[Callable[[], nn.Module], str, int | None]] = {
    "one tensor keeps its value": (lambda: nn.Sequential(nn.Linear(20, 30)), "default net; keep net[0].bias", None),
    "one tensor has a rule": (lambda: nn.Sequential(nn.Linear(20, 30)), "default net; Linear.bias = 1", 1),
    "buffers stay": (lambda: nn.Sequential(nn.BatchNorm1d(9)), "default net; keep net[0].running_mean", None),
    "statistics that are switched off": (lambda: toggled(nn.BatchNorm1d(9)), "default net; net[0].running_mean, net[0].running_var = 1; net[0].num_batches_tracked = 0", None),
    "a parameter of somebody else": (lambda: with_another(nn.Linear(20, 30)), "default net; net[0].extra = 1", None),
    "a reset of one's own": (lambda: nn.Sequential(Own(20, 30)), "default net", None),
    "a class that derives from it": (lambda: nn.Sequential(Derived(20, 30)), "default net", 1),
    "a reset of one's own in the instance": (lambda: overridden(nn.Linear(20, 30)), "default net", None),
    "not in one piece, under a seed": (lambda: transposed(nn.Linear(20, 30)), "default net", 1),
    "half precision, under a seed": (lambda: nn.Sequential(nn.Linear(20, 30)).half(), "default net", 1),
    "a computed weight": (lambda: nn.Sequential(parametrizations.weight_norm(nn.Linear(20, 30))), "default net", None),
    "a weight that a hook computes": (lambda: nn.Sequential(weight_norm(nn.Linear(20, 30))), "default net", None),
    "recurrent weights that a hook computes": (lambda: nn.Sequential(weight_norm(nn.GRU(4, 5), "weight_hh_l0")), "default net", None),
    "layers below": (lambda: nn.Sequential(nn.MultiheadAttention(8, 2)), "default net", 1),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm`:FutureWarning")
@pytest.mark.parametrize("name", USUAL)
def test_where_it_is_not_sure_the_usual_way_is_gone(
    name: str, simple: dict[str, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    make, rules, seed = USUAL[name]
    net, other = changed(make()), changed(make())
    torch.manual_seed(1)
    initdsl.apply(net, rules, seed=seed)
    assert simple
    assert not simple["0"]
    usual(monkeypatch)
    torch.manual_seed(1)
    initdsl.apply(other, rules, seed=seed)
    assert same(net, other) == []


class Above(nn.Module):
    """Its reset sets one of the tensors that are below it."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(3))
        self.below = nn.Linear(3, 4)
        self.norm = nn.BatchNorm1d(3)

    def reset_parameters(self) -> None:
        nn.init.ones_(self.scale)
        nn.init.zeros_(self.below.bias)


@pytest.mark.parametrize("seed", [None, 1])
def test_a_module_above_that_leaves_what_they_set(seed: int | None, simple: dict[str, bool]) -> None:
    net = changed(Above())
    initdsl.apply(net, "default net", seed=seed)
    for each in (net, initdsl.materialize(Above, "default net", seed=seed)):
        assert simple == {"": False, "below": True, "norm": True}
        assert each.scale.eq(1).all()
        assert each.below.bias.eq(0).all()
        assert each.below.weight.abs().max() < 1
        assert each.norm.running_mean.eq(0).all()
        assert each.norm.running_var.eq(1).all()


def test_functions_that_are_switched_off(simple: dict[str, bool], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nn.init, "kaiming_uniform_", lambda tensor, *arguments, **options: tensor)
    net = changed(nn.Sequential(nn.Linear(20, 30)))
    with pytest.raises(initdsl.ApplyError, match=r"leaves these unset: `net\[0\].weight`"):
        initdsl.apply(net, "default net")
    assert not simple["0"]


@pytest.mark.parametrize("seed", [None, 1])
def test_after_a_failure_all_is_as_it_was(seed: int | None, simple: dict[str, bool]) -> None:
    def fails(tensor: torch.Tensor, generator: object = None) -> None:
        raise RuntimeError("not today")

    net = changed(nn.Sequential(nn.Linear(200, 300), nn.BatchNorm1d(5), nn.Linear(3, 3)))
    before = copy.deepcopy(net)
    state = torch.get_rng_state()
    with pytest.raises(initdsl.ApplyError, match="not today"):
        initdsl.apply(net, "default net; net[2].weight ~ fails()", initializers={"fails": fails}, seed=seed)
    assert simple["0"]
    assert simple["1"]
    assert same(net, before) == []
    assert torch.equal(state, torch.get_rng_state())


def test_every_filled_entry_is_told(simple: dict[str, bool]) -> None:
    told: list[str] = []
    initdsl.apply(
        nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)), "default net", on_init=lambda e: told.append(e.name)
    )
    assert told == [
        "0.weight",
        "0.bias",
        "1.weight",
        "1.bias",
        "1.running_mean",
        "1.running_var",
        "1.num_batches_tracked",
    ]
    assert simple == {"0": True, "1": True}


def test_the_module_keeps_its_parameters(simple: dict[str, bool]) -> None:
    net = nn.Sequential(nn.Linear(200, 300))
    weight, version = net[0].weight, net[0].weight._version
    initdsl.apply(net, "default net")
    assert net[0].weight is weight
    assert type(weight) is nn.Parameter
    assert weight.requires_grad
    assert weight._version > version
    assert simple["0"]
