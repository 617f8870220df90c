"""Unseeded `verify` of modules' own defaults: what is a little too wide or narrow is drift, what is right is not."""

from __future__ import annotations

import pytest
import torch
from scipy import stats
from torch import nn

import initdsl
from initdsl.initializers import Uniform
from initdsl.statistics.goodness import Sample, beyond

LAYERS = {
    "linear": lambda: nn.Linear(8, 5),
    "bilinear": lambda: nn.Bilinear(6, 7, 5),
    "conv": lambda: nn.Conv2d(4, 8, 3, groups=2),
    "transposed": lambda: nn.ConvTranspose1d(8, 4, 3, groups=2),
    "lstm": lambda: nn.LSTM(4, 8, proj_size=3),
    "cell": lambda: nn.GRUCell(4, 6),
    "attention": lambda: nn.MultiheadAttention(16, 2),
    "transformer": lambda: nn.TransformerEncoderLayer(16, 2, 32),
    "embedding": lambda: nn.Embedding(40, 9),
    "padded": lambda: nn.Embedding(40, 9, padding_idx=1),
}


class Own(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(8, 8))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        self.weight.data.uniform_(-0.1, 0.1)


@pytest.mark.parametrize("seeds", [range(1), pytest.param(range(1, 5), marks=pytest.mark.long)], ids=["one", "four"])
@pytest.mark.parametrize("name", [*LAYERS, "own"])
def test_defaults_are_told_from_scaled_ones(name: str, seeds: range) -> None:
    make = LAYERS.get(name, Own)
    for seed in seeds:
        torch.manual_seed(seed)
        net = make()
        assert initdsl.verify(net, "default net"), (name, seed)
        # those that a draw is told from by its bounds, or by all of its values together
        factor = 1.2 if name not in ("embedding", "padded", "attention", "transformer") else 1.5
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.mul_(factor)
        assert not initdsl.verify(net, "default net"), (name, seed)
        assert initdsl.verify(net, f"default net; net.** *= {factor}") or "attention" in name, (name, seed)


class Around(nn.Module):
    """A layer inside a module whose own reset gives it something else."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(400, 300)

    def reset_parameters(self) -> None:
        nn.init.ones_(self.layer.weight)


@pytest.mark.parametrize(
    ("net", "rules"),
    [
        (Around(), "default Linear"),
        (nn.MultiheadAttention(400, 4), "keep net; default net.out_proj"),
    ],
    ids=["reset above", "out_proj"],
)
def test_a_layer_that_is_reset_by_itself_is_told_whatever_is_above(net: nn.Module, rules: str) -> None:
    initdsl.apply(net, rules)
    assert initdsl.verify(net, rules)
    with torch.no_grad():
        next(p for name, p in net.named_parameters() if name.endswith(("layer.weight", "out_proj.weight")))[7, 7] = (
            0.051
        )
    assert "the largest element is 0.051" in str(initdsl.verify(net, rules))


def test_one_element_outside_of_the_bound_is_drift() -> None:
    net = nn.Linear(400, 300)
    with torch.no_grad():
        net.weight[7, 7] = 0.051
    assert "the largest element is 0.051" in str(initdsl.verify(net, "default net"))


def test_extremes_of_two_samples() -> None:
    """Against the chance that the largest k of n + m are all of the n, which is a hypergeometric one."""
    reference = torch.arange(50.0)
    for k in range(4):
        values = torch.cat([torch.full((k,), 99.0), torch.full((10 - k,), 25.5)])
        chance = float(stats.hypergeom(60, 10, k).pmf(k)) if k else 1.0
        assert beyond(values, reference) == pytest.approx(min(1.0, 2 * chance))


def test_few_elements_that_lie_close_together_are_no_drift() -> None:
    """Five elements of a uniform distribution do so now and then: p-values are not smaller than chances."""
    torch.manual_seed(0)
    found = [Sample(Uniform(-1.0, 1.0), torch.float32) for _ in range(3000)]
    for sample in found:
        sample.add(torch.rand(5) * 2 - 1)
    small = [sample.tests()["std"] for sample in found]
    for alpha in (1e-1, 1e-2, 1e-3):
        assert sum(p < alpha for p in small) <= 3000 * alpha * 1.3 + 3
