"""What `diagnose` measures, against closed forms, plain hooks and autograd."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from scipy.integrate import quad
from torch import nn

import initdsl
from initdsl.diagnosis import Limits
from tests.support.nets import deep


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
