"""Complex parameters, filled as torch fills them: bit by bit without a seed, both parts from one stream under one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import init

import initdsl
from initdsl import streams
from initdsl.initializers import Normal, Uniform
from tests.support.nets import Tensors, names_of

DTYPES = [torch.complex64, torch.complex128, torch.complex32]


def net(dtype: torch.dtype = torch.complex64, *shape: int) -> nn.Module:
    return Tensors(w=torch.zeros(shape or (6, 5), dtype=dtype))


TORCH: dict[str, Callable[[torch.Tensor], Any]] = {
    "~ normal(1, 0.5)": lambda t: init.normal_(t, 1, 0.5), "~ uniform(-1, 3)": lambda t: init.uniform_(t, -1, 3), "~ xavier_normal()": init.xavier_normal_,
    "~ xavier_uniform(gain=2)": lambda t: init.xavier_uniform_(t, 2), "~ kaiming_normal(nonlinearity=relu)": lambda t: init.kaiming_normal_(t, nonlinearity="relu"),
    "~ kaiming_uniform(a=2, mode=fan_out)": lambda t: init.kaiming_uniform_(t, 2, "fan_out"), "= 0": init.zeros_, "= ones()": init.ones_,
    "= 3.5": lambda t: init.constant_(t, 3.5), "= eye()": init.eye_,
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:ComplexHalf")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("rule", TORCH)
def test_without_a_seed_it_is_torchs_call(rule: str, dtype: torch.dtype) -> None:
    made, wanted = net(dtype), torch.zeros(6, 5, dtype=dtype)
    torch.manual_seed(3)
    initdsl.apply(made, f"net.w {rule}")
    torch.manual_seed(3)
    try:
        TORCH[rule](wanted)
    except RuntimeError as error:  # a plain one in torch 2.4 and 2.6
        if "not implemented" not in str(error):
            raise
        pytest.skip("torch has no such kernel for complex32")
    assert torch.equal(torch.view_as_real(made.w.detach()), torch.view_as_real(wanted))


def test_dirac() -> None:
    made, wanted = net(torch.complex64, 4, 4, 3), torch.zeros(4, 4, 3, dtype=torch.complex64)
    initdsl.apply(made, "net.w = dirac()")
    assert torch.equal(made.w.detach(), init.dirac_(wanted))


@pytest.mark.parametrize(
    "layer",
    [
        nn.Linear,
        lambda i, o, dtype: nn.Conv2d(i, o, 3, dtype=dtype),
        lambda i, o, dtype: nn.Embedding(i, o, dtype=dtype),
    ],
)
def test_the_default_is_torchs(layer: Any) -> None:
    made = nn.Sequential(layer(3, 4, dtype=torch.complex64))
    torch.manual_seed(3)
    initdsl.apply(made, "default net")
    torch.manual_seed(3)
    wanted = nn.Sequential(layer(3, 4, dtype=torch.complex64))
    for one, other in zip(made.parameters(), wanted.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("text", "part"), [("normal(1, 2)", Normal(1, 2 / 2**0.5)), ("uniform(-1, 3)", Uniform(-1, 3))]
)
@pytest.mark.parametrize(("dtype", "real"), [(torch.complex64, torch.float32), (torch.complex128, torch.float64)])
def test_under_a_seed_the_parts_are_neighbours_in_the_stream(
    text: str, part: Any, dtype: torch.dtype, real: torch.dtype
) -> None:
    made, wanted = net(dtype), torch.empty(6, 5, 2, dtype=real)
    initdsl.apply(made, f"net.w ~ {text}", seed=9)
    streams.fill(wanted, part, streams.key(9, "w"))
    assert torch.equal(torch.view_as_real(made.w.detach()), wanted)


@pytest.mark.parametrize("index", ["[1:4]", "[:, 2]", "[::2, 1:4]", " as (5, 6)[1:3]"])
def test_a_piece_has_its_own_elements(index: str) -> None:
    whole, piece = net(), net()
    initdsl.apply(whole, "net.w ~ normal(0, 1)", seed=9)
    initdsl.apply(piece, f"net.w = 0; net.w{index} ~ normal(0, 1)", seed=9)
    written = piece.w != 0
    assert bool(written.any())
    assert torch.equal(piece.w[written], whole.w[written])


RULES = [
    "Linear.weight ~ xavier_normal(); Linear.bias = 0", "default net", "Linear.* ~ normal(0, 1); Linear.weight *= 0.5", "Linear.weight ~ 0.5 * normal(0, 1); Linear.bias = index(0)",
    "Linear.weight ~ kaiming_uniform(); Linear.bias = 1; Linear.bias += weight[0, 0] * 2", "Linear.weight ~ where(index(0) > 1, normal(0, 1), 0); Linear.bias = [1, 2, 3, 4]",
    "Linear.weight ~ uniform(-1, 1); Linear.weight -= eye(); Linear.bias = 0", "Linear.* ~ normal(0, 1); Linear.weight[1:3] = 0; Linear.weight[0, 0] += 2",
]  # fmt: skip


def build() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 4, dtype=torch.complex64), nn.Linear(4, 4, dtype=torch.complex64))


@pytest.mark.needs("safetensors>=0.7")  # which reads C64
@pytest.mark.parametrize("rules", RULES)
def test_every_way_to_fill_gives_the_same(rules: str, tmp_path: Path) -> None:
    filled = build()
    initdsl.apply(filled, rules, seed=5)
    assert any(bool(p.imag.any()) for p in filled.parameters())
    made = initdsl.materialize(build, rules, seed=5)
    for one, other in zip(filled.parameters(), made.parameters(), strict=True):
        assert torch.equal(one, other)
    assert initdsl.verify(filled, rules, 5)
    initdsl.stream(build, rules, tmp_path / "out", seed=5)
    assert initdsl.verify(str(tmp_path / "out"), rules, 5, model=build())
    with torch.no_grad():
        filled[0].weight[0, 0] += 1j
    assert not initdsl.verify(filled, rules, 5)


@pytest.mark.parametrize("rules", RULES)
def test_without_a_seed_the_distribution_is_verified(rules: str) -> None:
    filled = build()
    torch.manual_seed(1)
    initdsl.apply(filled, rules)
    assert initdsl.verify(filled, rules)
    with torch.no_grad():
        filled[0].weight *= 3
    if "default" not in rules and "eye" not in rules:
        assert not initdsl.verify(filled, rules)


def test_expressions_keep_both_parts() -> None:
    w = torch.tensor([1 + 2j, -3j, 2])
    made = Tensors(w=w.clone(), v=torch.zeros(3, dtype=torch.complex64), r=torch.zeros(3))
    initdsl.apply(made, "keep net.w; net.v = -(net.w * 2) / 4 + exp(net.w); net.r = abs(net.w)")
    assert torch.allclose(made.v, -w / 2 + w.exp())
    assert torch.allclose(made.r, w.abs())


@pytest.mark.parametrize(("rule", "name", "said"), [
    ("net.w ~ trunc_normal()", "bad-dtype", "`net.w` is complex64, and `trunc_normal` fills real tensors only"), ("net.w ~ orthogonal()", "bad-dtype", "`orthogonal` fills real tensors only"),
    ("net.w ~ bernoulli()", "bad-dtype", "`bernoulli` fills real"), ("net.w ~ 2 * lecun_normal()", "bad-dtype", "`lecun_normal` fills real"), ("net.w ~ sparse(0.5)", "bad-dtype", "`sparse` fills real"),
    ("net.r = net.w", "bad-dtype", "`net.r` is float32 and can't hold complex numbers"), ("net.w = max(net.w, 0)", "bad-dtype", "`max` takes real numbers"), ("net.w = clip(it, 0, 1)", "bad-dtype", "`clip` takes real numbers"),
    ("net.w = it > 0", "bad-dtype", "`>` takes real numbers"), ("expect net.w std < 1", "bad-expectation", "looks at real numbers"), ("net.w = 1e39", "overflow", "too large for complex64"),
    ("net.w ~ icnr()", "bad-dtype", "fills real"), ("net.w ~ lsuv()", "bad-dtype", "fills real"), ("net.w ~ variance_scaling(1)", "bad-dtype", "fills real"),
])  # fmt: skip
def test_what_has_no_complex_form_is_refused(rule: str, name: str, said: str) -> None:
    shape = (4, 4, 4) if "icnr" in rule else (4, 4)
    made = Tensors(w=torch.zeros(shape, dtype=torch.complex64), r=torch.zeros(shape))
    with pytest.raises(initdsl.InitDSLError) as caught:
        initdsl.plan(made, rule)
    assert names_of(caught.value) == [name]
    assert said in str(caught.value)


def test_what_is_not_finite_changes_nothing() -> None:
    made = Tensors(a=torch.ones(3), w=torch.ones(3, dtype=torch.complex64))
    with pytest.raises(initdsl.ApplyError, match="not finite"):
        initdsl.apply(made, "net.a = 2; net.w /= index(0)")
    assert made.a.tolist() == [1, 1, 1]
    assert made.w.tolist() == [1, 1, 1]


def test_a_variance_scaled_normal_is_drawn() -> None:
    made = net(torch.complex64, 300, 200)
    initdsl.apply(made, "net.w ~ variance_scaling(2, distribution=normal)", seed=1)
    assert float(made.w.detach().abs().square().mean()) == pytest.approx(2 / 200, rel=0.02)


def test_it_is_described_and_expected() -> None:
    made = build()
    report = initdsl.apply(
        made,
        "Linear.* ~ normal(0, 1); expect Linear.* finite; expect net covered; expect net[0].weight shape = (4, 64)",
        seed=1,
    )
    assert report["0.weight"].dtype == "complex64"
    assert (
        initdsl.plan(
            initdsl.Network.from_manifest(report.plan.network.to_manifest()), "Linear.* ~ normal(0, 1)"
        ).to_dict()["entries"]
        == initdsl.plan(build(), "Linear.* ~ normal(0, 1)").to_dict()["entries"]
    )
