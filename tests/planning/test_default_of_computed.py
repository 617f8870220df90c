"""`default` of modules whose weights are computed from others: it is that of the weight, under every way to name it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize

import initdsl

WRAPPERS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "weight_norm": parametrizations.weight_norm, "spectral_norm": parametrizations.spectral_norm, "orthogonal": parametrizations.orthogonal,
    "old weight_norm": nn.utils.weight_norm, "old spectral_norm": nn.utils.spectral_norm,
}  # fmt: skip
LAYERS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(4, 4), "conv": lambda: nn.Conv1d(4, 4, 1), "embedding": lambda: nn.Embedding(4, 4), "bilinear": lambda: nn.Bilinear(2, 2, 4),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _quiet() -> None:
    warnings.simplefilter("ignore", FutureWarning)


def net(wrapper: str, layer: str = "linear") -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 4), nn.Sequential(WRAPPERS[wrapper](LAYERS[layer]())))


@pytest.mark.parametrize("selector", ["net", "net[1]", "net[1][0]", "{0}", "net.**", "net[1][0].*"])
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_a_default_is_that_of_the_weight(wrapper: str, selector: str) -> None:
    layer = "conv" if wrapper == "weight_norm" else "linear"
    rules = f"keep net; default {selector.format('Conv1d' if layer == 'conv' else 'Linear')}"
    one, other = net(wrapper, layer), net(wrapper, layer)
    report = initdsl.apply(one, rules, seed=3, strict=True)
    initdsl.apply(other, "keep net; default net[1][0].weight; default net[1][0].bias", seed=3)
    assert report.plan["1.0.weight"].status == "default"
    assert torch.equal(one[1][0].weight, other[1][0].weight)
    assert torch.equal(one[1][0].bias, other[1][0].bias)


@pytest.mark.parametrize("layer", LAYERS)
def test_the_weight_is_what_the_plain_layer_starts_with(layer: str) -> None:
    plain, normed = nn.Sequential(LAYERS[layer]()), nn.Sequential(parametrizations.weight_norm(LAYERS[layer]()))
    for each in (plain, normed):
        initdsl.apply(each, "default net", seed=3)
    assert torch.allclose(plain[0].weight, normed[0].weight, rtol=1e-6)


@pytest.mark.parametrize("wrapper", ["weight_norm", "spectral_norm"])
def test_it_is_materialized_verified_and_streamed(wrapper: str, tmp_path: Path) -> None:
    made = initdsl.materialize(lambda: net(wrapper), "default net", seed=3)
    filled = net(wrapper)
    initdsl.apply(filled, "default net", seed=3)
    assert torch.allclose(made[1][0].weight, filled[1][0].weight, rtol=1e-5)  # spectral norm's vectors start elsewhere
    assert initdsl.verify(filled, "default net", 3)
    initdsl.stream(lambda: net(wrapper), "default net", tmp_path / "out", seed=3)
    assert initdsl.verify(str(tmp_path / "out"), "default net", 3, model=net(wrapper))


def test_what_has_no_default_is_still_an_error() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(4, 4))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * self.scale

        def right_inverse(self, x: torch.Tensor) -> torch.Tensor:
            return x / self.scale

    computed = nn.Sequential(nn.Linear(4, 4))
    parametrize.register_parametrization(computed[0], "weight", Scaled())
    with pytest.raises(initdsl.ResolveError, match=r"`Scaled` has parameters and no `reset_parameters`") as caught:
        initdsl.plan(computed, "default net")
    assert "original" not in str(caught.value)
    with pytest.raises(initdsl.ResolveError, match="no-default"):
        initdsl.plan(computed, "default net[0].parametrizations")
