"""`diagnose` against closed forms, against plain hooks and autograd, on real models; and what it leaves as it was."""

from __future__ import annotations

import copy
import importlib.util
import io
import json
import math
import random
import re
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from scipy.integrate import quad
from torch import nn

import initdsl
from initdsl import cli
from initdsl.diagnosis import Limits
from tests.support.browser import CHROMIUM, Browser
from tests.support.nets import same, snapshot
from tests.support.pages import initdsl_command

pytestmark = pytest.mark.filterwarnings("ignore::initdsl.UncoveredParameterWarning")


def deep(depth: int, width: int, activation: Callable[[], nn.Module]) -> nn.Sequential:
    return nn.Sequential(*[part for _ in range(depth) for part in (nn.Linear(width, width), activation())])


def gaussian(function: Callable[[float], float], std: float) -> float:
    """The mean of a function of a normal number, by quadrature."""
    return quad(lambda z: function(std * z) * math.exp(-z * z / 2) / math.sqrt(2 * math.pi), -9, 9)[0]


# ---- closed forms


def test_xavier_in_a_deep_tanh_net() -> None:
    # mean field theory (Poole et al. 2016, Schoenholz et al. 2017): q' = E tanh(sqrt(q) z)^2, gradients E tanh'^2
    depth, width = 24, 400
    made = initdsl.diagnose(
        deep(depth, width, nn.Tanh), "Linear.weight ~ xavier_normal(); Linear.bias = 0", torch.randn(64, width), seed=0
    )
    linears = [layer for layer in made if layer.cls == "Linear"]
    q, slopes = 1.0, []
    for layer in linears:
        assert layer.rms == pytest.approx(math.sqrt(q), rel=0.06)
        slopes.append(gaussian(lambda x: (1 - math.tanh(x) ** 2) ** 2, math.sqrt(q)))
        q = gaussian(lambda x: math.tanh(x) ** 2, math.sqrt(q))
    assert made.trunk is not None
    assert made.trunk.grad_growth == pytest.approx(math.sqrt(math.prod(slopes[:-1])), rel=0.12)


def test_kaiming_in_a_deep_relu_net() -> None:
    made = initdsl.diagnose(
        deep(30, 500, nn.ReLU), "Linear.weight ~ kaiming_normal(nonlinearity=relu); Linear.bias = 0", seed=1
    )
    assert made.trunk is not None
    for layer in made.trunk.layers:
        assert layer.rms == pytest.approx(math.sqrt(2), rel=0.25)  # E x^2 = 2 for each layer's output
    assert made.trunk.per_layer == pytest.approx(1, abs=0.02)
    assert made.trunk.grad_per_layer == pytest.approx(1, abs=0.02)
    xavier = initdsl.diagnose(deep(30, 500, nn.ReLU), "Linear.weight ~ xavier_normal(); Linear.bias = 0", seed=1)
    assert xavier.trunk is not None
    assert xavier.trunk.per_layer == pytest.approx(math.sqrt(0.5), rel=0.02)
    assert xavier.trunk.grad_per_layer == pytest.approx(math.sqrt(0.5), rel=0.02)


class Branch(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, width)
        self.down = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.up(self.norm(x))
        return x + self.down(self.norm(x))


@pytest.mark.parametrize(("scale", "total"), [("1 / sqrt(2 * len(net))", 2.0), ("1", 1.0 + 2 * 24)])
def test_a_residual_stack(scale: str, total: float) -> None:
    # each of the 2L branches adds what a norm of size 1 gives: 2L of variance, or 1 with the factor 1/sqrt(2L)
    width, depth = 400, 24
    made = initdsl.diagnose(
        nn.Sequential(*[Branch(width) for _ in range(depth)]),
        f"Linear.weight ~ xavier_normal(gain={scale}); Linear.bias = 0; default LayerNorm",
        torch.randn(64, width),
        seed=0,
    )
    assert made.trunk is not None
    assert (made.trunk.cls, len(made.trunk.layers)) == ("Branch", depth)
    assert made.trunk.layers[-1].rms == pytest.approx(math.sqrt(total), rel=0.04)


def test_the_words() -> None:
    made = initdsl.diagnose(deep(48, 64, nn.Tanh), "Linear.weight ~ normal(0, 0.83 / 8); Linear.bias = 0", seed=0)
    assert made.trunk is not None
    total, per = made.trunk.grad_growth, made.trunk.grad_per_layer
    assert per == pytest.approx(0.83, abs=0.03)
    said = next(str(remark) for remark in made.verdict if remark.name == "gradients")
    assert said == f"gradients shrink {per:.2g} a layer; 48 layers: {f'{total:.0e}'.replace('e-0', 'e-')}"
    assert [r.severity for r in made.verdict[:2]] == ["warning", "warning"]


# ---- against torch itself


def test_numbers_are_those_of_plain_hooks() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 5), nn.Tanh())
    x = torch.randn(16, 3, 8, 8)
    made = initdsl.diagnose(net, None, x, loss=lambda y: (y**2).mean(), optimizer="sgd", learning_rate=0.1)
    outputs: list[torch.Tensor] = []
    value = x
    for module in net:
        value = module(value)
        value.retain_grad()
        outputs.append(value)
    (value**2).mean().backward()
    for layer, output in zip(made, outputs, strict=False):
        assert layer.shape == output.shape
        assert layer.mean == pytest.approx(output.mean().item(), abs=1e-6)
        assert layer.std == pytest.approx(output.std(correction=0).item(), rel=1e-4)
        assert output.grad is not None
        assert layer.grad_std == pytest.approx(output.grad.std(correction=0).item(), rel=1e-4)
    weight = net[4].weight
    before = weight.detach().clone()
    torch.optim.SGD(net.parameters(), lr=0.1).step()
    ratio = (weight.detach() - before).pow(2).mean().sqrt() / before.pow(2).mean().sqrt()
    assert made["4"].update_ratio == pytest.approx(ratio.item(), rel=1e-4)
    assert made["5"].saturated == pytest.approx((1 - outputs[5] ** 2 < 0.05).float().mean().item())
    flat = torch.nn.functional.normalize(outputs[4], dim=1)
    cosines = flat @ flat.t()
    assert made["4"].similarity == pytest.approx((cosines.sum().item() - 16) / (16 * 15), rel=1e-4)
    values = torch.linalg.svdvals(outputs[4].detach().double()) ** 2
    assert made["4"].rank == pytest.approx(float(values.sum() ** 2 / (values**2).sum()), rel=1e-4)


def test_dead_units() -> None:
    made = initdsl.diagnose(
        nn.Sequential(nn.Linear(4, 10), nn.ReLU(), nn.Linear(10, 2)),
        "Linear.weight ~ normal(0, 0.1); Linear.bias = 0; net[0].bias[0:3] = -9",
        seed=0,
    )
    assert made["1"].dead == made["2"].dead == pytest.approx(0.3)
    assert any("30% of the units of `1` are 0 for every sample" in str(r) for r in made.verdict)


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(1, 4, 3), nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.relu(self.a(x), inplace=True).mean((2, 3))
        return torch.sigmoid(50 * self.b(x)).softmax(-1)


def test_zeros_of_the_input_are_no_dead_units() -> None:
    x = torch.randn(30, 4)
    x[:, :2] = 0
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    made = initdsl.diagnose(net, "Linear.weight ~ normal(0, 1); Linear.bias = 9", x)
    assert made["1"].dead is None
    assert made["3"].dead == 0


def test_wrappers_are_looked_through() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    compiled = torch.compile(net)
    made = initdsl.diagnose(compiled, "net[0].weight = 1", seed=0)  # type: ignore[arg-type]
    assert [layer.name for layer in made] == ["0", "1", "2", "net"]


class Gelu(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 0.5 * x * (1 + torch.tanh(0.8 * x))


def test_functions_called_in_code_are_seen() -> None:
    made = initdsl.diagnose(Functional(), "Conv2d.weight = -1; Conv2d.bias = -90; Linear.* ~ normal(0, 1)", seed=0)
    assert made["net (relu)"].dead == 1
    assert (made["net (sigmoid)"].saturated or 0) > 0.5
    assert made["net (softmax)"].saturated == 0
    gelu = initdsl.diagnose(nn.Sequential(nn.Linear(4, 4), Gelu()), "Linear.* ~ normal(0, 9)", seed=0)
    assert gelu["1"].saturated is None  # its tanh is not what comes out


def test_units_that_stay_alike() -> None:
    net = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))
    alike = initdsl.diagnose(net, "Linear.* = 0.1", seed=0)
    assert (alike["0"].symmetric, alike["0"].units) == (6, 6)
    assert any(r.name == "symmetric-units" for r in alike.verdict)
    assert alike["2"].symmetric == 0  # the gradients at the output differ
    for rules in ("Linear.* ~ normal(0, 1)", "Linear.* ~ normal(0, 1); net[2].weight = 0"):
        made = initdsl.diagnose(net, rules, seed=0)
        assert (made["0"].symmetric, made["2"].symmetric) == (0, 0)
    pair = initdsl.diagnose(
        net,
        "Linear.* ~ normal(0, 1); net[0].weight[1] = 3; net[0].weight[4] = 3; net[0].bias = 0; net[2].weight = 1",
        seed=0,
    )
    assert pair["0"].symmetric == 2


def test_rank_collapse() -> None:
    made = initdsl.diagnose(
        deep(30, 100, nn.ReLU), "Linear.weight ~ kaiming_normal(); Linear.bias ~ normal(0, 1)", seed=0
    )
    assert any(r.name == "rank-collapse" for r in made.verdict)
    assert (made["58"].similarity or 0) > 0.99
    assert (made["58"].rank or 9) < 1.1


def test_what_is_not_finite_is_said() -> None:
    made = initdsl.diagnose(deep(30, 50, nn.ReLU), "Linear.weight ~ normal(0, 1e4); Linear.bias = 0", seed=0)
    assert "activations are not finite from" in str(made.verdict[0])
    assert made.exceeded(Limits(growth=1e30))


def test_a_last_layer_of_zeros() -> None:
    rules = "Linear.weight ~ kaiming_normal(); Linear.bias = 0; net[-1].weight = 0"
    net = nn.Sequential(*deep(10, 200, nn.ReLU), nn.Linear(200, 10))
    made = initdsl.diagnose(net, rules, seed=0)
    assert made.trunk is not None
    assert any("no gradient gets behind `20`" in str(r) for r in made.verdict)
    assert made["0"].grad_rms > 0
    ratio = made["0"].grad_rms / made["18"].grad_rms
    assert ratio == pytest.approx(1, abs=0.5)


# ---- what it leaves


class Awkward(nn.Module):
    """A network with everything that a forward pass moves."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4))
        self.norm = nn.BatchNorm1d(4)
        self.drop = nn.Dropout(0.5)
        self.b = nn.Linear(4, 4, bias=False)
        self.b.weight = nn.Parameter(self.b.weight.detach())
        self.c = nn.Linear(4, 4, bias=False)
        self.seen: list[int] = []
        self.register_forward_hook(lambda m, a, o: None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.c(self.drop(self.b(self.norm(self.a(x)))))


@pytest.mark.parametrize("rules", ["*.* ~ normal(0, 1)", "tie net.b net.c; Linear+.weight ~ normal(0, 1)", None])
def test_everything_is_as_it_was(rules: str | None) -> None:
    net = Awkward().eval()
    net.norm.train()
    net.b.weight.requires_grad_(False)
    before = snapshot(net)
    hooks = [(dict(m._forward_hooks), dict(m._forward_pre_hooks)) for m in net.modules()]
    numpy_state = np.random.get_state()[1].copy()
    initdsl.diagnose(net, rules, torch.randn(8, 4))
    initdsl.diagnose(net, rules, seed=3)
    with pytest.raises(initdsl.DiagnoseError):
        initdsl.diagnose(net, rules, torch.randn(8, 5))
    after = snapshot(net)
    del before["torch"]
    del after["torch"]
    same(before, after)
    assert [(dict(m._forward_hooks), dict(m._forward_pre_hooks)) for m in net.modules()] == hooks
    assert (np.random.get_state()[1] == numpy_state).all()
    assert all(p.grad is None for p in net.parameters())


def test_random_states_are_as_they_were() -> None:
    net = deep(2, 4, nn.ReLU)
    state, python = torch.random.get_rng_state(), random.getstate()
    initdsl.diagnose(net, "Linear.* ~ normal(0, 1)")
    initdsl.diagnose(net, "Linear.* ~ normal(0, 1)", seed=0)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert random.getstate() == python


def test_the_same_state_gives_the_same() -> None:
    net = nn.Sequential(nn.Linear(4, 50), nn.Dropout(), nn.Linear(50, 3))
    first, again = (json.dumps(initdsl.diagnose(net, "Linear.* ~ normal(0, 1)").to_dict()) for _ in range(2))
    assert first == again
    one, two = (
        initdsl.diagnose(net, f"Linear.* ~ {draw}", input_shape=(5, 4)) for draw in ("normal(0, 1)", "uniform(0, 1)")
    )
    assert one["1"].shape == two["1"].shape == (5, 50)


@pytest.mark.parametrize("seed", [None, 5])
def test_other_rules_get_the_same_input_and_it_is_not_what_they_draw(seed: int | None) -> None:
    net = nn.Sequential(nn.Identity(), nn.Linear(64, 64))
    made = [
        initdsl.diagnose(net, f"*.* ~ {draw}", seed=seed) for draw in ("normal(0, 1)", "normal(0, 1) + normal(0, 1)")
    ]
    assert made[0]["0"].mean == made[1]["0"].mean
    # of the input's own numbers the output's diagonal would be sums of 64 squares
    assert made[0]["1"].rms == pytest.approx(8, rel=0.1)


def test_the_old_weight_norm_is_copied_too() -> None:
    net = nn.Sequential(*[nn.utils.weight_norm(nn.Linear(8, 8)) for _ in range(3)])
    assert initdsl.diagnose(net, "Linear.weight ~ normal(0, 1); Linear.bias = 0", seed=0).trunk is not None


# ---- what goes in


def test_samples() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Linear(3, 3)

        def forward(self, left: torch.Tensor, right: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"out": self.w(left) + right}

    a, b = torch.randn(5, 3), torch.randn(5, 3)
    shown = "float32 [5, 3], float32 [5, 3]"
    assert initdsl.diagnose(Two(), None, (a, b)).inputs == shown
    assert initdsl.diagnose(Two(), None, {"right": a, "left": b}).inputs == "right=float32 [5, 3], left=float32 [5, 3]"
    assert initdsl.diagnose(Two()).inputs == "random float32 [64, 3], float32 [64, 3]"
    with pytest.raises(initdsl.DiagnoseError, match="the network takes no `wrong`"):
        initdsl.diagnose(Two(), None, {"wrong": a, "left": b})
    with pytest.raises(TypeError, match="a sample has a shape"):
        initdsl.diagnose(Two(), None, (a, b), input_shape=(3,))


class Steps(nn.Module):
    """A diffusion network: numbers, and for each sample the step it is at."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = nn.Embedding(100, 4)
        self.up = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return self.up(x) + self.steps(t)


class Alone(nn.Module):
    """Takes nothing: what it puts out it has."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(4, 4)

    def forward(self) -> torch.Tensor:
        return self.up(torch.ones(2, 4))


@pytest.mark.parametrize(
    ("net", "shape", "inputs"),
    [
        (lambda: nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 4)), None, "random int64 [8, 16]"),
        (lambda: nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 4)), (2, 5), "random int64 [2, 5]"),
        (lambda: nn.Sequential(nn.Conv2d(1, 6, 5), nn.Flatten(), nn.Linear(3456, 9)), None, "random float32 [8, 1, 28, 28]"),
        (lambda: nn.Conv2d(3, 4, 3), (2, 3, 9, 9), "random float32 [2, 3, 9, 9]"),
        (lambda: nn.LSTM(8, 16, 2, batch_first=True), None, "random float32 [8, 16, 8]"),
        (lambda: nn.Transformer(32, 4, 1, 1, 64), None, "random float32 [8, 16, 32], float32 [8, 16, 32]"),
        (lambda: nn.Sequential(nn.Linear(4, 4)).double(), None, "random float64 [64, 4]"),
        (lambda: nn.Sequential(nn.Linear(4, 4)).bfloat16(), None, "random bfloat16 [64, 4]"),
        (lambda: nn.Sequential(nn.Conv1d(3, 4, 5), nn.ReLU()), None, "random float32 [8, 3, 64]"),
        (lambda: nn.Sequential(nn.Conv1d(1, 4, 80, 4), nn.Flatten(), nn.Linear(948, 2)), None, "random float32 [8, 1, 1024]"),
        (lambda: nn.Sequential(nn.Conv3d(3, 4, 5)), None, "random float32 [8, 3, 16, 32, 32]"),
        (lambda: nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 4)), None, "random float32 [8, 16, 6]"),
        (lambda: nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, 4)), None, "random float32 [64, 6]"),
        (lambda: nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3)), None, "random float32 [8, 3, 32, 32]"),
        (lambda: nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 4)).double(), (2, 5), "random int64 [2, 5]"),
        (Steps, None, "random float32 [64, 4], int64 [64]"),
        (Alone, None, "no input"),
    ],
)  # fmt: skip
def test_random_input_fits(net: Callable[[], nn.Module], shape: tuple[int, ...] | None, inputs: str) -> None:
    assert initdsl.diagnose(net(), None, input_shape=shape).inputs == inputs


class Arguments(nn.Module):
    """Takes as many arguments as it has layers, each for one of them; the last by name alone."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.head = nn.Linear(8 * len(layers), 2)

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        made = [layer(x) for layer, x in zip(self.layers, (first, second), strict=True)]
        return self.head(torch.cat([x.flatten(1, -2).mean(1) if x.ndim > 2 else x for x in made], -1))


class ByName(Arguments):
    def forward(self, first: torch.Tensor, *, second: torch.Tensor) -> torch.Tensor:
        return super().forward(first, second)


@pytest.mark.parametrize(
    ("net", "inputs"),
    [
        (Arguments(nn.Linear(10, 8), nn.Linear(5, 8)), "random float32 [8, 10], float32 [8, 5]"),
        (Arguments(nn.Embedding(90, 8), nn.Linear(5, 8)), "random int64 [8, 16], float32 [8, 5]"),
        (Arguments(nn.Embedding(90, 8), nn.Embedding(3, 8)), "random int64 [8, 16], int64 [8, 16]"),
        (ByName(nn.Linear(10, 8), nn.Embedding(90, 8)), "random float32 [8, 10], second=int64 [8, 16]"),
    ],
)
def test_arguments_of_different_kinds(net: nn.Module, inputs: str) -> None:
    assert initdsl.diagnose(net, seed=0).inputs == inputs


def test_gradients_of_sparse_embeddings() -> None:
    nets = [nn.Sequential(nn.Embedding(9, 4, sparse=sparse), nn.Linear(4, 4)) for sparse in (True, False)]
    rules = "*.weight ~ normal(0, 1); *.bias = 0"
    one, other = (initdsl.diagnose(net, rules, torch.arange(9), seed=0) for net in nets)
    assert one["0"].update_ratio == other["0"].update_ratio
    assert one["0"].update_ratio > 0


def test_gradients_get_through_frozen_layers() -> None:
    net = deep(4, 32, nn.Tanh)
    net[0].requires_grad_(False)
    x = torch.randn(16, 32)
    free = initdsl.diagnose(deep(4, 32, nn.Tanh), "Linear.* ~ normal(0, 0.1)", x, seed=0)
    made = initdsl.diagnose(net, "Linear.* ~ normal(0, 0.1)", x, seed=0)
    assert [layer.grad_std for layer in made] == [layer.grad_std for layer in free]
    assert (made["0"].update_ratio, made["2"].update_ratio) == (None, free["2"].update_ratio)
    assert made["0"].symmetric is None
    assert not net[0].weight.requires_grad


@pytest.mark.models
@pytest.mark.skipif(importlib.util.find_spec("transformers") is None, reason="needs transformers")
@pytest.mark.parametrize(
    ("name", "inputs"),
    [
        ("gpt2", "random input_ids=int64 [2, 7]"),
        ("t5", "random input_ids=int64 [2, 7], decoder_input_ids=int64 [2, 7]"),
    ],
)
@pytest.mark.usefixtures("torchvision_shim")
def test_a_shape_for_a_model_of_words(name: str, inputs: str) -> None:
    assert initdsl.diagnose(real(name), input_shape=(2, 7)).inputs == inputs


def test_what_is_no_network_and_no_optimizer() -> None:
    with pytest.raises(TypeError, match=r"a network is an nn\.Module, not str"):
        initdsl.diagnose("net")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="one of adam, sgd, not 'adamw'"):
        initdsl.diagnose(nn.Linear(2, 2), optimizer="adamw")
    net = nn.Linear(2, 2)
    net.lock = threading.Lock()  # type: ignore[assignment]
    with pytest.raises(initdsl.DiagnoseError, match="can't be copied: TypeError"):
        initdsl.diagnose(net)


def test_layers_by_name() -> None:
    made = initdsl.diagnose(deep(3, 8, nn.Tanh), seed=0)
    assert len(made) == len(list(made)) == 7
    assert made["4"].name == "4"
    with pytest.raises(KeyError, match="did you mean `4`"):
        made["4x"]
    assert repr(made).startswith("<Diagnosis of Sequential, 7 layers: ")


def test_a_table_for_notebooks_is_escaped() -> None:
    net = nn.Sequential()
    for i in range(3):
        net.add_module(f"<b>{i}", nn.Linear(4, 4))
    rules = "Linear.* ~ normal(0, 1)"
    one = initdsl.diagnose(net, rules, seed=0)
    both = one.compare(initdsl.diagnose(net, "Linear.* = 0", seed=0))
    for table in (one._repr_html_(), both._repr_html_()):
        assert "<td>&lt;b&gt;" in table
        assert "<b>0" not in table
    assert "<th scope=col>act std A</th><th scope=col>act std B</th>" in both._repr_html_()
    head, *lines = str(both).splitlines()
    assert head.startswith("A: Sequential by ")
    assert lines[0].startswith("B: Sequential by ")
    assert any(line.startswith("warning: B: ") for line in lines)
    assert not any(line.startswith("warning: A: ") for line in lines)


class Checkpointed(nn.Module):
    """Layers whose inside is computed a second time on the way back."""

    def __init__(self, checkpointed: bool) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Sequential(nn.Linear(8, 8), nn.Tanh()) for _ in range(3)])
        self.checkpointed = checkpointed

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        from torch.utils.checkpoint import checkpoint

        for layer in self.layers:
            x = checkpoint(layer, x, use_reentrant=False) if self.checkpointed else layer(x)
        return x


def test_what_is_recomputed_for_the_way_back_counts_once() -> None:
    rules, x = "Linear.weight ~ xavier_normal(); Linear.bias = 0", torch.randn(16, 8)
    one, other = (initdsl.diagnose(Checkpointed(on), rules, x, seed=0) for on in (True, False))
    assert [layer.name for layer in one] == [layer.name for layer in other]
    assert [layer.std for layer in one] == [layer.std for layer in other]
    assert [layer.update_ratio for layer in one] == [layer.update_ratio for layer in other]


def test_a_loss_that_fails_and_one_sample() -> None:
    net = deep(3, 8, nn.Tanh)

    def loss(output: torch.Tensor) -> torch.Tensor:
        raise ValueError("no " + "more " * 100)

    with pytest.raises(initdsl.DiagnoseError, match="the backward pass failed on") as caught:
        initdsl.diagnose(net, None, torch.randn(4, 8), loss=loss)
    (found,) = caught.value.diagnostics
    assert found.name == "backward-failed"
    assert found.message.endswith(" ...")
    assert found.hint is None
    alone = initdsl.diagnose(net, None, torch.randn(1, 8))
    assert {layer.similarity for layer in alone} == {None}
    assert all(layer.similarity is not None for layer in initdsl.diagnose(net, None, torch.randn(4, 8)))


def test_there_is_always_a_verdict() -> None:
    assert [remark.severity for remark in initdsl.diagnose(nn.Linear(4, 4)).verdict] == ["fine"]
    two = initdsl.diagnose(nn.Sequential(nn.Linear(4, 400), nn.Linear(400, 4)), "*.weight ~ normal(0, 1); *.bias = 0")
    assert [remark.text.split()[:2] for remark in two.verdict[:2]] == [["activations", "grow"], ["gradients", "grow"]]


def test_errors_say_where() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.Sequential(nn.Linear(5, 6)))
    with pytest.raises(
        initdsl.DiagnoseError, match=r"failed in `1.0` \(Linear\) on random float32 \[64, 3\]: RuntimeError"
    ):
        initdsl.diagnose(net)
    with pytest.raises(initdsl.DiagnoseError, match="has no memory"):
        initdsl.diagnose(nn.Linear(2, 2, device="meta"))
    with pytest.raises(initdsl.DiagnoseError, match="has no shape yet"):
        initdsl.diagnose(nn.LazyLinear(2))
    with pytest.raises(initdsl.DiagnoseError, match="can't tell what `Nothing` takes"):
        initdsl.diagnose(type("Nothing", (nn.Module,), {"forward": lambda self, x: x})())
    with pytest.raises(initdsl.DiagnoseError, match="no output of the network has a gradient"):
        initdsl.diagnose(
            type("Cut", (nn.Linear,), {"forward": lambda self, x: x.detach() @ self.weight.detach()})(2, 2)
        )
    with pytest.raises(initdsl.ResolveError):
        initdsl.diagnose(nn.Linear(2, 2), "net.nowhere.weight = 0")


# ---- real models

TRANSFORMER = {
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "vocab_size": 99,
}


def real(name: str) -> nn.Module:
    import timm
    import torchvision
    import transformers as hf

    made: dict[str, Callable[[], Any]] = {
        "resnet": lambda: torchvision.models.resnet18(num_classes=10),
        "torchvision vit": lambda: torchvision.models.VisionTransformer(32, 8, 4, 4, 64, 128, num_classes=10),
        "timm vit": lambda: timm.create_model("vit_tiny_patch16_224", img_size=32, depth=4),
        "timm convnext": lambda: timm.create_model("convnext_atto", num_classes=10),
        "gpt2": lambda: hf.GPT2LMHeadModel(hf.GPT2Config(n_layer=4, n_embd=32, n_head=4, vocab_size=99)),
        "bert": lambda: hf.BertForSequenceClassification(hf.BertConfig(**TRANSFORMER)),
        "llama": lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**TRANSFORMER)),
        "t5": lambda: hf.T5ForConditionalGeneration(hf.T5Config(d_model=32, d_kv=8, d_ff=64, num_layers=3, num_heads=4, vocab_size=99)),
        "wav2vec2": lambda: hf.Wav2Vec2Model(hf.Wav2Vec2Config(**{**TRANSFORMER, "num_hidden_layers": 4}, conv_dim=(16, 16), conv_kernel=(10, 3), conv_stride=(5, 2), num_feat_extract_layers=2, num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2, apply_spec_augment=False)),
        "whisper": lambda: hf.WhisperModel(hf.WhisperConfig(vocab_size=99, num_mel_bins=8, encoder_layers=3, decoder_layers=3, encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32, d_model=16, max_source_positions=20, max_target_positions=30, pad_token_id=0, decoder_start_token_id=1, bos_token_id=0, eos_token_id=0)),
        "hf vit": lambda: hf.ViTModel(hf.ViTConfig(hidden_size=32, num_hidden_layers=4, num_attention_heads=4, intermediate_size=64, image_size=32, patch_size=8)),
    }  # fmt: skip
    found: nn.Module = made[name]()
    return found


@pytest.mark.models
@pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="needs timm")
@pytest.mark.parametrize(
    ("name", "cls", "count"),
    [
        ("resnet", "BasicBlock", 8), ("torchvision vit", "EncoderBlock", 4), ("timm vit", "Block", 4),
        ("timm convnext", "ConvNeXtBlock", 12), ("gpt2", "GPT2Block", 4), ("bert", "BertLayer", 4),
        ("llama", "LlamaDecoderLayer", 4), ("t5", "T5Block", 3), ("hf vit", "ViTLayer", 4), ("wav2vec2", "Wav2Vec2EncoderLayer", 4),
        ("whisper", "WhisperDecoderLayer", 3),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("torchvision_shim")
def test_real_models_run_on_input_that_fits(name: str, cls: str, count: int) -> None:
    torch.manual_seed(0)
    made = initdsl.diagnose(real(name))
    assert made.trunk is not None
    assert (made.trunk.cls, len(made.trunk.layers)) == (cls, count)
    assert 0.1 < made.trunk.growth < 10
    assert 0.05 < made.trunk.grad_growth < 20
    assert not made.exceeded(Limits(growth=20))
    assert str(made)


@pytest.mark.models
@pytest.mark.skipif(importlib.util.find_spec("transformers") is None, reason="needs transformers")
@pytest.mark.usefixtures("torchvision_shim")
def test_a_models_own_loss_is_taken() -> None:
    torch.manual_seed(0)
    net = real("gpt2").eval()
    ids = torch.randint(0, 99, (4, 8))
    for module in net.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    made = initdsl.diagnose(net, None, {"input_ids": ids, "labels": ids})
    hidden: list[torch.Tensor] = []
    net.transformer.h[0].register_forward_hook(lambda m, a, o: hidden.append(o[0] if isinstance(o, tuple) else o))
    out = net(input_ids=ids, labels=ids)
    hidden[0].retain_grad()
    out.loss.backward()
    assert hidden[0].grad is not None
    assert made["transformer.h.0"].grad_rms == pytest.approx(hidden[0].grad.pow(2).mean().sqrt().item(), rel=1e-3)


# ---- the command line, files and pages

MODEL = """import torch
from torch import nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(32, 32) for _ in range(20))
    def forward(self, x):
        for layer in self.layers:
            x = torch.tanh(layer(x))
        return x
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("model.py").write_text(MODEL, "utf-8")
    Path("good.init").write_text("Linear.weight ~ xavier_normal()\nLinear.bias = 0\n", "utf-8")
    Path("bad.init").write_text("Linear.weight ~ normal(0, 0.02)\nLinear.bias = 0\n", "utf-8")
    return tmp_path


def run(*words: str) -> tuple[int, str]:
    return initdsl_command(["diagnose", *words, "--model", "model.py:Net", "--seed", "0"])


def test_limits_make_the_exit_code(folder: Path) -> None:
    code, said = run("good.init", "--max-growth", "30")
    assert code == 0, said
    assert "layers.{0..19} ×20" in said
    code, said = run("bad.init", "--max-growth", "2")
    assert code == 1
    assert re.search(r"^exceeded: growth: activations change by \de-1\d over 20 layers, beyond 2$", said, re.MULTILINE)
    code, said = run("good.init", "--max-update-ratio", "0.001")
    assert code == 1
    assert "exceeded: update ratio: " in said
    assert run("bad.init", "--max-growth", "0.5")[0] == 2
    assert run("nowhere.init")[0] == 2


def test_json_and_files(folder: Path) -> None:
    code, said = run("good.init", "--format", "json", "-o", "d.html", "-o", "d.json", "-o", "d.txt")
    assert code == 0
    found = json.loads(said)
    assert found == json.loads((folder / "d.json").read_text("utf-8"))
    assert (found["format"], found["version"], found["trunk"]["class"]) == ("initdsl-diagnosis", 1, "Linear")
    assert len(found["layers"]) == 41
    code, said = run("good.init", "--against", "bad.init", "--format", "json")
    both = json.loads(said)
    assert "exceeded" not in both
    code, said = run("bad.init", "--format", "json", "--max-growth", "2")
    limited = json.loads(said[: said.rindex("}") + 1])
    assert (code, [text[:6] for text in limited["exceeded"]]) == (1, ["growth", "growth"])
    assert (both["first"]["rules"], both["second"]["rules"]) == ("good.init", "bad.init")
    assert both["first"]["inputs"] == both["second"]["inputs"]
    assert run("good.init", "-o", "d.doc")[0] == 2


def test_samples_and_shapes_on_the_command_line(folder: Path) -> None:
    from safetensors.torch import save_file

    save_file({"x": torch.randn(7, 32)}, "x.safetensors")
    save_file({"anything": torch.randn(7, 32)}, "one.safetensors")
    save_file({"x": torch.randn(7, 32), "y": torch.randn(1)}, "more.safetensors")
    assert "on x=float32 [7, 32]" in run("good.init", "--sample", "x.safetensors")[1]
    assert "on float32 [7, 32]" in run("good.init", "--sample", "one.safetensors")[1]
    code, said = run("good.init", "--sample", "more.safetensors")
    assert code == 2
    assert "the network takes no `y`" in said
    assert "on random float32 [3, 32]" in run("good.init", "--input-shape", "3,32")[1]
    code, said = run("good.init", "--input-shape", "3,31")
    assert code == 2
    assert "in `layers.0` (Linear)" in said
    assert "Traceback" not in said
    for words in (
        ["--input-shape", "3,x"],
        ["--sample", "model.py"],
        ["--sample", "x.safetensors", "--input-shape", "3"],
    ):
        code, said = run("good.init", *words)
        assert code == 2
        assert "Traceback" not in said


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_has_the_table_in_colours(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setattr(sys, "path", list(sys.path))
    plain = run("bad.init", "--against", "good.init")[1]
    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    words = ["diagnose", "bad.init", "--against", "good.init", "--model", "model.py:Net", "--seed", "0"]
    cli.group(words, standalone_mode=False)
    sys.modules.pop("model", None)
    shown = re.sub(r"\x1b\[[\d;]*m", "", screen.getvalue())
    texts = [line for line in plain.splitlines() if line.startswith(("warning: A: ", "warning: B: "))]
    assert texts
    assert all(f"\x1b[33m{text.removeprefix('warning: ')[:20]}" in screen.getvalue() for text in texts)
    assert "\x1b[32mB: " in screen.getvalue()
    squeezed = [
        " ".join(line.removeprefix("warning: ").split())
        for line in plain.splitlines()
        if line.startswith(("warning: ", "A:", "B:"))
    ]
    assert len(squeezed) > 3
    assert all(line in " ".join(shown.split()) for line in squeezed)


def test_no_network_a_page_and_wrong_shapes(folder: Path) -> None:
    code, said = initdsl_command(["diagnose", "good.init"])
    assert code == 2
    assert "`--model` says which network" in said
    for words in ([], ["--against", "bad.init"]):
        code, said = run("good.init", "--format", "html", *words)
        assert code == 0
        assert said.lstrip().lower().startswith("<!doctype html>")
        assert ("bad.init" in said) is bool(words)
    code, said = run("good.init", "--input-shape", "3,0")
    assert code == 2
    assert "`--input-shape 3,0` is no shape" in said
    code, said = run("good.init", "--sample", "nowhere.safetensors")
    assert code == 2
    assert "there is no file `nowhere.safetensors`" in said


def test_plots_without_matplotlib(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in sys.modules if n.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr(sys, "path", list(sys.path))
    result = CliRunner().invoke(cli.group, ["diagnose", "good.init", "--model", "model.py:Net", "-o", "d.png"])
    sys.modules.pop("model", None)
    assert result.exit_code == 2
    assert "pip install initdsl[plot]" in result.stderr
    assert not Path("d.png").exists()


def test_plots(folder: Path) -> None:
    pytest.importorskip("matplotlib")
    net = deep(5, 16, nn.Tanh)
    one = initdsl.diagnose(net, "Linear.weight ~ xavier_normal(); Linear.bias = 0", seed=0)
    other = initdsl.diagnose(net, "Linear.* = 0", seed=0)
    one.save("one.png")
    one.compare(other).save("both.svg")
    assert Path("one.png").read_bytes().startswith(b"\x89PNG")
    drawn = one.plot()
    assert [axis.get_title() for axis in drawn.axes][:2] == ["std of activations", "std of gradients"]
    assert list(drawn.axes[0].lines[0].get_ydata()) == [layer.std for layer in one.trunk.layers]  # type: ignore[union-attr]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("there is no chromium")
    opened = Browser()
    yield opened
    opened.close()


def test_the_page(browser: Browser, folder: Path) -> None:
    assert run("good.init", "--against", "bad.init", "-o", "d.html")[0] == 0
    page = folder / "d.html"
    for dark, width in ((False, 1280), (True, 1280), (False, 360)):
        browser.open(page, dark=dark, width=width)
        assert browser.errors == []
        assert browser.requests == [page.as_uri()]
        assert browser.run("document.documentElement.scrollWidth") <= width
    assert browser.run("document.querySelectorAll('svg.chart').length") == 4
    assert browser.run("document.querySelectorAll('svg.chart')[0].querySelectorAll('polyline').length") == 2
    assert browser.run("document.querySelectorAll('#layers tbody tr').length") == 20
    browser.press("/")
    browser.type("layers.7")
    assert browser.run("[...document.querySelectorAll('#layers tbody th')].map((c) => c.innerText)") == ["layers.7"]
    assert "gradients shrink" in browser.run("document.querySelector('main').innerText")


def test_notebooks_and_hostile_names(browser: Browser, tmp_path: Path) -> None:
    net = nn.Sequential()
    for i in range(3):
        net.add_module(f"<img src=x onerror=alert({i})>", nn.Linear(4, 4))
    made = initdsl.diagnose(net, "Linear.* ~ normal(0, 1)", seed=0)
    assert "<img" not in made._repr_html_()
    made.save(tmp_path / "h.html")
    browser.open(tmp_path / "h.html")
    assert browser.errors == []
    assert browser.run("document.querySelectorAll('img').length") == 0
    assert copy.copy(made).to_dict() == made.to_dict()
