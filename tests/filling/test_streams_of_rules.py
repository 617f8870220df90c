"""Which streams the draws of rules take under a seed: each its own, and which of them stands in docs/streams.md."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import nn

import initdsl
from initdsl.initializers import default_registry
from tests.support.calls import DRAWS, Call

PAGE = Path(__file__).parents[2] / "docs" / "streams.md"


def filled(rules: str, *shape: int, seed: int = 7) -> torch.Tensor:
    net = nn.Module()
    net.w = nn.Parameter(torch.zeros(*shape))
    initdsl.apply(net, rules, seed=seed)
    return net.w.detach()


def correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(torch.corrcoef(torch.stack([a.flatten().double(), b.flatten().double()]))[0, 1])


# ---- every draw of a rule


@pytest.mark.parametrize("draw", ["normal(0, 1)", "uniform(-1, 1)", "trunc_normal(0, 1)", "rademacher()"])
def test_what_sparse_leaves_has_nothing_to_do_with_the_next_draw(draw: str) -> None:
    kept = filled(f"net.w ~ where(sparse(0.5, std=1) == 0, 0, {draw})", 400, 400)
    kept = kept[kept != 0]
    assert abs(float(kept.mean())) < 0.02
    assert abs(float((kept > 0).double().mean()) - 0.5) < 0.01


DRAWN_AS_ONE = [call for call in DRAWS if not default_registry()[call.text.partition("(")[0]].elementwise]


@pytest.mark.parametrize(
    "call", [c for c in DRAWN_AS_ONE if not default_registry()[c.text.partition("(")[0]].adjust], ids=str
)
def test_a_draw_after_another_is_that_draw_alone_in_a_later_place(call: Call) -> None:
    """What comes first takes as many streams as it draws from: `normal` behind it shares no bits with any of them."""
    initializer = default_registry()[call.text.partition("(")[0]]
    ahead = " + ".join(["0 * normal(0, 1)"] * initializer.streams)
    behind = filled(f"net.w ~ 0 * {call.text} + normal(0, 1)", *call.shape)
    assert torch.equal(behind, filled(f"net.w ~ {ahead} + normal(0, 1)", *call.shape))


def test_twice_the_same_draw_is_two_draws() -> None:
    twice = filled("net.w ~ where(sparse(0.5, std=1) == 0, 0, 1) + where(sparse(0.5, std=1) == 0, 0, 2)", 400, 400)
    assert all(abs(float((twice == value).double().mean()) - 0.25) < 0.02 for value in (0, 1, 2, 3))


# ---- pieces that are drawn as one

OVERLAPPING = [
    ("net.w[0:16]", "net.w[0::2]", (32, 32)),
    ("net.w[0::2]", "net.w[0:16]", (32, 32)),
    ("net.w[0:16, 0:16]", "net.w[0::2, 0:16]", (32, 32)),
    ("net.w[0]", "net.w[:, 0]", (16, 16, 16)),
    ("net.w[:, :, 0]", "net.w[0]", (16, 16, 16)),
    ("net.w as (4, 256)[:, 0:8]", "net.w as (32, 32)[0:4, 0:8]", (32, 32)),
    ("net.w as (2, 16, -1)[:, 0:8]", "net.w as (4, 8, -1)[0:2]", (32, 32)),
]


@pytest.mark.parametrize("draw", ["orthogonal()", "sparse(0.25, std=1)"])
@pytest.mark.parametrize(("first", "second", "shape"), OVERLAPPING)
def test_pieces_that_begin_at_one_element_are_drawn_apart(
    first: str, second: str, shape: tuple[int, ...], draw: str
) -> None:
    if draw.startswith("sparse") and "as (2" in first:
        pytest.skip("only a matrix is filled by sparse")
    first_mask, second_mask = filled(f"{first} = 1", *shape) == 1, filled(f"{second} = 1", *shape) == 1
    both = filled(f"{first} ~ {draw}; {second} ~ {draw}", *shape)
    alone = filled(f"{first} ~ {draw}", *shape)
    left = first_mask & ~second_mask
    assert torch.equal(both[left], alone[left])
    drawn = both[second_mask]  # in the order of the piece, as is the other
    assert not torch.equal(drawn, alone[first_mask])
    assert abs(correlation(drawn, alone[first_mask])) < 0.3


@pytest.mark.parametrize(
    "rule",
    [
        "net.w[0::2] ~ orthogonal()",
        "net.w[0:16] ~ orthogonal()",
        "net.w as (4, 8, -1)[*] ~ orthogonal()",
        "net.w[0:16] ~ orthogonal(); net.w[16:32] ~ orthogonal()",
        "net.w[0:16] ~ orthogonal(); net.w[0:16] ~ orthogonal()",
        "net.w[0:1] ~ sparse(0, std=1); net.w[0:1:2] ~ sparse(0, std=1)",
    ],
)
def test_pieces_that_shared_nothing_keep_their_bits(rule: str) -> None:
    net = nn.Module()
    net.w = nn.Parameter(torch.zeros(32, 32))
    plan = initdsl.plan(net, rule, seed=7)
    assert [action.stream_strides for action in plan["w"].actions] == [None] * len(plan["w"].actions)
    assert {action.stream for action in plan["w"].actions} == {0}


# ---- values that were moved

MOVED = [
    "net.w ~ normal(0, 1); net.w[1] = w[0]; net.w[0] ~ normal(0, 1)",
    "net.w ~ normal(0, 1); net.w = it[0:1]; net.w[0] ~ normal(0, 1)",
    "net.w[0] ~ normal(0, 1); net.w[1:] = w[0]; net.w[0] ~ normal(0, 1)",
    "net.w ~ normal(0, 1); net.w as (8, 4, -1) = it[:, 0:1]; net.w[0] ~ normal(0, 1)",
]


@pytest.mark.parametrize("rules", MOVED)
def test_a_draw_after_values_were_moved_is_another(rules: str) -> None:
    w = filled(rules, 32, 32)
    assert not torch.equal(w[0], w[1])
    assert abs(correlation(w[0], w[1])) < 0.6


def test_what_moves_nothing_moves_no_stream() -> None:
    plain = filled("net.w ~ normal(0, 1)", 32, 32)
    for between in ("net.w *= 2", "net.w = it / 2", "net.w = where(it < 0, -it, it)", "net.w[1] = 5", "net.w[1] *= 3"):
        assert torch.equal(filled(f"net.w ~ normal(0, 1); {between}; net.w[0] ~ normal(0, 1)", 32, 32)[0], plain[0])


# ---- every way to fill


def test_every_way_to_fill_takes_the_plans_streams(tmp_path: Path) -> None:
    rules = "Linear.weight ~ sparse(0.5, std=1) * normal(0, 1); Linear.weight[0:8] ~ orthogonal(); Linear.weight[0::2] ~ orthogonal()"
    net = nn.Sequential(nn.Linear(16, 16, bias=False))
    initdsl.apply(net, rules, seed=5)
    made = initdsl.materialize(lambda: nn.Sequential(nn.Linear(16, 16, bias=False)), rules, seed=5)
    assert torch.equal(net[0].weight, made[0].weight)
    visited = nn.Sequential(nn.Linear(16, 16, bias=False))
    visited.apply(initdsl.parse(rules).as_init_fn(visited, seed=5))
    assert torch.equal(net[0].weight, visited[0].weight)
    initdsl.stream(lambda: nn.Sequential(nn.Linear(16, 16, bias=False)), rules, tmp_path / "x.safetensors", seed=5)
    assert initdsl.verify(tmp_path / "x.safetensors", rules, model=net)
    assert initdsl.verify(net, rules, seed=5)


# ---- the page


def vectors() -> list[list[str]]:
    block = re.search(r"```draws\n(.*?)```", PAGE.read_text(), re.S)
    assert block
    return [line.split(" | ") for line in block[1].splitlines() if not line.startswith("#")]


@pytest.mark.parametrize("line", vectors(), ids=" ".join)
def test_the_page_tells_the_draws(line: list[str]) -> None:
    seed, shape, rules, place, stream, value = line
    net = nn.Module()
    net.w = nn.Parameter(torch.zeros(*map(int, shape.split("x"))))
    plan = initdsl.plan(net, rules, seed=int(seed))
    plan.apply()
    assert float(net.w[tuple(map(int, place.split(",")))]) == pytest.approx(float(value), abs=1e-6)
    if stream != "-":  # an element-wise draw, by the definition of streams itself
        name, _, number = stream.rpartition(":")
        key = initdsl.streams.key(int(seed), name, int(number))
        whole = torch.empty(net.w.shape)
        initdsl.streams.fill(whole, initdsl.initializers.Normal(0, 1), key)
        assert float(whole[tuple(map(int, place.split(",")))]) == float(value)
