"""Where random numbers come from without a seed, and what a seed may be."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize

import initdsl


class Custom(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(6, 4))


DRAWS: dict[str, Callable[[torch.Tensor, torch.Generator], object]] = {
    "normal(0, 0.1)": lambda w, g: nn.init.normal_(w, 0, 0.1, generator=g),
    "uniform(-1, 1)": lambda w, g: nn.init.uniform_(w, -1, 1, generator=g),
    "trunc_normal(0, 1, -2, 2)": lambda w, g: nn.init.trunc_normal_(w, 0, 1, -2, 2, generator=g),
    "kaiming_uniform()": lambda w, g: nn.init.kaiming_uniform_(w, generator=g),
    "xavier_normal()": lambda w, g: nn.init.xavier_normal_(w, generator=g),
    "orthogonal()": lambda w, g: nn.init.orthogonal_(w, generator=g),
}


@pytest.mark.parametrize("call", DRAWS)
def test_a_generator_draws_as_in_torch(call: str) -> None:
    net, w = Custom(), torch.zeros(6, 4)
    theirs, ours = torch.Generator().manual_seed(5), torch.Generator().manual_seed(5)
    DRAWS[call](w, theirs)
    state = torch.get_rng_state()
    initdsl.apply(net, f"net.w ~ {call}", generator=ours)
    assert torch.equal(net.w, w)
    assert torch.equal(ours.get_state(), theirs.get_state())
    assert torch.equal(torch.get_rng_state(), state)
    initdsl.apply(net, f"net.w ~ {call}", generator=ours)
    assert not torch.equal(net.w, w)


def test_defaults_and_functions_of_ones_own_draw_from_it_too() -> None:
    def noise(tensor: torch.Tensor) -> torch.Tensor:
        return torch.randn(tensor.shape)

    rules, values = "default net[0]; net[1].w ~ noise()", []
    for _ in range(2):
        net = nn.Sequential(nn.Linear(3, 3), Custom())
        initdsl.plan(net, rules, initializers={"noise": noise}).apply(generator=torch.Generator().manual_seed(1))
        values.append(torch.cat([p.detach().flatten() for p in net.parameters()]))
    assert torch.equal(*values)


def test_after_a_failure_the_generator_is_as_it_was() -> None:
    net, generator = Custom(), torch.Generator().manual_seed(1)
    before, state = generator.get_state(), torch.get_rng_state()
    with pytest.raises(initdsl.ApplyError):
        initdsl.apply(net, "net.w ~ normal(0, 1); net.w = 1 / (w - w)", generator=generator)
    assert torch.equal(generator.get_state(), before)
    assert torch.equal(torch.get_rng_state(), state)


def test_what_does_not_go_with_a_generator() -> None:
    with pytest.raises(TypeError, match="a seed or a generator"):
        initdsl.apply(Custom(), "net.w ~ normal(0, 1)", seed=1, generator=torch.Generator())
    with pytest.raises(TypeError, match=r"torch\.Generator, not int"):
        initdsl.apply(Custom(), "net.w ~ normal(0, 1)", generator=3)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", [np.int64(3), np.int32(3), np.uint8(3), torch.tensor(3), np.array(3)])
def test_whatever_has_an_index_is_a_seed(seed: int) -> None:
    one, other = Custom(), Custom()
    rules = "net.w ~ normal(0, 1)"
    initdsl.apply(one, rules, seed=seed)
    initdsl.apply(other, rules, seed=3)
    assert torch.equal(one.w, other.w)
    assert torch.equal(initdsl.materialize(Custom, rules, seed=seed).w, other.w)
    assert initdsl.verify(one, rules, seed=seed)
    assert type(initdsl.plan(one, rules, seed=seed).seed) is int


@pytest.mark.parametrize("seed", [True, np.bool_(True), 3.0, np.float64(3), "3"])
def test_what_has_none_is_not(seed: int) -> None:
    with pytest.raises(TypeError, match="a seed is an integer"):
        initdsl.apply(Custom(), "net.w ~ normal(0, 1)", seed=seed)


@pytest.mark.parametrize("wrap", [parametrizations.weight_norm, parametrizations.spectral_norm])
def test_a_cached_weight_is_the_new_one(wrap: Callable[[nn.Module], nn.Module]) -> None:
    net = nn.Sequential(wrap(nn.Linear(3, 3)))
    with parametrize.cached():
        net[0].weight.sum()
        initdsl.apply(net, "net[0].weight = eye(); net[0].bias = 0")
        assert torch.allclose(net[0].weight, torch.eye(3), atol=1e-3)
        initdsl.apply(net, "/original(1|$)/ *= 0.5; net[0].bias = net[0].weight[0]")
        assert torch.allclose(net[0].bias[0], net[0].weight[0, 0], atol=1e-3)
    assert torch.allclose(net[0].weight, torch.eye(3), atol=1e-3)


@pytest.mark.parametrize("place", ["", "1"])
@pytest.mark.parametrize("make", [torch.jit.script, lambda net: torch.jit.trace(net, torch.ones(1, 2))])
def test_torchscript_is_refused_by_name(make: Callable[[nn.Module], nn.Module], place: str) -> None:
    scripted = make(nn.Sequential(nn.Linear(2, 2)))
    net = nn.Sequential(nn.ReLU(), scripted) if place else scripted
    for use in (initdsl.apply, initdsl.plan, initdsl.verify):
        with pytest.raises(
            initdsl.ResolveError, match="`1` of this model is TorchScript" if place else "is TorchScript"
        ):
            use(net, "Linear.* = 0")
