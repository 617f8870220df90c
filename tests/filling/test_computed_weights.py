"""Weights that are computed from others: what is written is what comes out, or an error, and files hold all it takes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize

import initdsl
from initdsl.checkpoints.open import open_store

NORMS: dict[str, Callable[..., nn.Module]] = {
    "weight norm": parametrizations.weight_norm,
    "old weight norm": nn.utils.weight_norm,
    "spectral norm": parametrizations.spectral_norm,
    "old spectral norm": nn.utils.spectral_norm,
}


class Symmetric(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.triu() + x.triu(1).T

    def right_inverse(self, x: torch.Tensor) -> torch.Tensor:
        return x.triu()


class Between(nn.Module):
    """Between 0 and 1."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.sigmoid()

    def right_inverse(self, x: torch.Tensor) -> torch.Tensor:
        return x.logit()


def under(part: nn.Module) -> nn.Module:
    layer = nn.Linear(4, 4)
    parametrize.register_parametrization(layer, "weight", part)
    return layer


def refused(layer: nn.Module, rules: str, **options: Any) -> str:
    net = nn.Sequential(layer)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.raises(initdsl.ApplyError) as caught:
        initdsl.apply(net, rules, **options)
    for name, value in net.state_dict().items():
        assert torch.allclose(value, before[name], rtol=0, atol=0, equal_nan=True), name
    assert [finding.name for finding in caught.value.diagnostics] == ["not-representable"]
    return str(caught.value)


@pytest.mark.parametrize("seed", [None, 0])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(
    "rules",
    [
        "net[0].weight = 0", "net[0].weight ~ normal(0, 1); net[0].weight *= 0", "net[0].weight = 1; net[0].weight = it - 1",
        "keep net[0].bias; net[0].weight = net[0].bias * 0",
    ],
)  # fmt: skip
def test_zero_under_a_norm_is_an_error(norm: str, rules: str, seed: int | None) -> None:
    layer = nn.Linear(3, 3)
    said = refused(NORMS[norm](layer), rules, seed=seed)
    assert "`net[0].weight` is computed from `net[0]." in said
    if "weight norm" in norm:
        assert "weight_g = 0`" in said or "original0 = 0`" in said


@pytest.mark.parametrize("norm", ["weight norm", "old weight norm"])
def test_one_row_of_zeros_is_an_error_and_the_hint_works(norm: str) -> None:
    said = refused(NORMS[norm](nn.Linear(4, 3)), "net[0].weight ~ normal(0, 1); net[0].weight[1] = 0")
    net = nn.Sequential(NORMS[norm](nn.Linear(4, 3)))
    initdsl.apply(net, said.rpartition("is written `")[2].rstrip("`\n"))
    net(torch.ones(1, 4))
    assert not net[0].weight.any()
    refused(NORMS[norm](nn.Linear(4, 3)), "/(weight_v|original1)$/ = 0")


@pytest.mark.parametrize("norm", NORMS)
def test_what_can_be_had_is_had(norm: str) -> None:
    net = nn.Sequential(NORMS[norm](nn.Linear(4, 4)))
    for rules in (
        "net[0].weight = eye()",
        "net[0].weight ~ orthogonal()",
        "default net",
        "net[0].weight ~ normal(0, 1)",
    ):
        initdsl.apply(net, f"{rules}; net[0].bias = 0", seed=0)
        assert bool(net.eval()(torch.eye(4)).isfinite().all())
    initdsl.apply(net, "net[0].weight = eye(); net[0].bias = 0")
    assert torch.allclose(net(torch.eye(4)), torch.eye(4), atol=1e-2)


@pytest.mark.parametrize("norm", ["spectral norm", "old spectral norm"])
def test_a_value_that_the_norm_takes_away_is_an_error(norm: str) -> None:
    assert "can't have these values" in refused(NORMS[norm](nn.Linear(4, 4)), "net[0].weight = 3")
    refused(NORMS[norm](nn.Linear(4, 4)), "net[0].weight *= 2")


def test_parametrizations_of_ones_own() -> None:
    refused(under(Symmetric()), "net[0].weight = index(0)")
    refused(under(Between()), "net[0].weight = 2")
    refused(under(Between()), "net[0].weight ~ normal(0, 1)", seed=0)
    net = nn.Sequential(under(Symmetric()), under(Between()))
    initdsl.apply(net, "net[0].weight ~ normal(0, 1); net[1].weight ~ uniform(0.1, 0.9)", seed=0)
    assert torch.equal(net[0].weight, net[0].weight.T)
    initdsl.apply(net, "net[0].weight = index(0) + index(1); net[1].weight = 0")
    assert torch.equal(net[0].weight[1], torch.arange(1.0, 5.0))
    assert not net[1].weight.any()


def test_every_way_to_fill_refuses(tmp_path: Path) -> None:
    def build() -> nn.Module:
        return nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 3)))

    rules = "net[0].weight = 0; net[0].bias = 0"
    net = build()
    for fill in (
        lambda: initdsl.materialize(build, rules, seed=0),
        lambda: initdsl.stream(build, rules, tmp_path / "out", seed=0),
        lambda: net.apply(initdsl.parse(rules).as_init_fn(net)),
    ):
        with pytest.raises(initdsl.ApplyError, match="can't have these values"):
            fill()


# ---- what belongs to the weight

MAPS = ["matrix_exp", "cayley", "householder"]


@pytest.mark.parametrize("kind", MAPS)
@pytest.mark.parametrize(("rows", "columns"), [(6, 4), (4, 6)])
def test_the_base_of_orthogonal_is_written_and_is_the_seeds(kind: str, rows: int, columns: int, tmp_path: Path) -> None:
    def build() -> nn.Module:
        return nn.Sequential(parametrizations.orthogonal(nn.Linear(columns, rows), orthogonal_map=kind))

    rules = "Linear.weight ~ orthogonal(); Linear.bias = 0"
    net = build()
    base = net[0].parametrizations.weight[0].base
    state = torch.get_rng_state()
    initdsl.apply(net, rules, seed=0)
    assert torch.equal(torch.get_rng_state(), state)
    assert net[0].parametrizations.weight[0].base is base
    wanted = net.state_dict()
    initdsl.stream(build, rules, tmp_path / "out", seed=0)
    stored = open_store(tmp_path / "out")
    other = build()
    other.load_state_dict({name: stored.whole(name) for name in stored.tensors})
    for got in (other.state_dict(), initdsl.materialize(build, rules, seed=0).state_dict()):
        assert set(got) == set(wanted)
        assert all(torch.equal(got[name], wanted[name]) for name in wanted)
    assert torch.allclose(other[0].weight, net[0].weight, atol=1e-6)
    assert initdsl.verify(tmp_path / "out", rules, model=build())
    assert initdsl.verify(net, rules, seed=0)
    with torch.no_grad():
        base.copy_(base.flip(0))
    assert not initdsl.verify(net, rules, seed=0)


def test_without_a_rule_for_the_weight_the_base_is_that_of_its_default() -> None:
    made = initdsl.materialize(lambda: nn.Sequential(parametrizations.orthogonal(nn.Linear(4, 6))), "", seed=0)
    assert torch.allclose(made[0].weight.T @ made[0].weight, torch.eye(4), atol=1e-5)
    with pytest.raises(initdsl.ResolveError, match=r"parametrizations\.weight\.0\.base"):
        initdsl.materialize(
            lambda: nn.Sequential(parametrizations.orthogonal(nn.Linear(4, 6))),
            "net[0].parametrizations.weight.original = 0",
            seed=0,
        )
