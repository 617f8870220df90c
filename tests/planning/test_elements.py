"""Which elements pieces write: whether they make up the whole, are one piece, or overlap."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import initdsl


def net_of(*shape: int) -> nn.Module:
    net = nn.Module()
    net.w = nn.Parameter(torch.zeros(*shape))
    return net


# fused projections as HF's Falcon, GPT-NeoX, InternLM2 and Persimmon have them: g groups of r queries, a key, a value
WHOLE = [
    ("net.w as (2, 6, -1)[:, 0:4] = 1; net.w as (2, 3, 2, -1)[*, -2] = 2; net.w as (2, 3, 2, -1)[*, -1] = 3", (12, 5)),
    ("net.w as (2, 6, -1)[*, 0:4] ~ orthogonal(); net.w as (2, 3, 2, -1)[*, -2:] ~ normal(0, 1)", (12, 5)),
    ("net.w[0:4] = 1; net.w as (3, 4, -1)[1:] = 2", (12, 5)),
    ("net.w[:, 0] = 1; net.w as (60,)[1:60:5] = 2; net.w as (12, 5)[:, 2:] = 3", (12, 5)),
    ("net.w as (60,)[0::2] = 1; net.w as (30, 2)[:, 1] = 2", (12, 5)),
    ("net.w[0] = 1; net.w as (2, 30)[1] = 1; net.w as (12, 5)[1:6] = 2", (12, 5)),
    ("net.w[0] = 1; net.w as (6, -1)[3:] = 1; net.w[1:3] = 1", (6,)),
]

PARTS = [
    ("net.w as (2, 6, -1)[:, 0:4] = 1; net.w as (2, 3, 2, -1)[*, -1, 0] = 2", (12, 5)),
    ("net.w as (2, 6, -1)[:, 0:4] = 1; net.w as (2, 3, 2, -1)[*, -1, 1] = 2", (12, 5)),
    ("net.w[0:4] = 1; net.w as (3, 4, -1)[2:] = 2", (12, 5)),
    ("net.w[0:11] = 1; net.w as (60,)[56:] = 2", (12, 5)),
    ("net.w as (60,)[0::2] = 1; net.w as (30, 2)[:, 0] = 2", (12, 5)),
    ("net.w[0:4] = 1; net.w as (3, 4, -1)[1:] += 2", (12, 5)),
]


@pytest.mark.parametrize(("rules", "shape", "status"), [(*c, "set") for c in WHOLE] + [(*c, "partial") for c in PARTS])
def test_slices_through_several_views(rules: str, shape: tuple[int, ...], status: str) -> None:
    plan = initdsl.plan(net_of(*shape), rules)
    assert plan["w"].status == status
    net = net_of(*shape)
    with torch.no_grad():
        net.w.fill_(torch.nan)
    initdsl.apply(net, rules.replace("+=", "="))
    if "+=" not in rules:
        assert bool(net.w.isnan().any()) == (status == "partial")  # the plan says what is so


def test_a_fused_projection_passes_strict_in_every_way_to_fill(tmp_path: Any) -> None:
    rules = WHOLE[1][0]
    net = net_of(12, 5)
    initdsl.apply(net, rules, strict=True, seed=1)
    assert torch.equal(initdsl.materialize(lambda: net_of(12, 5), rules, strict=True, seed=1).w, net.w)
    initdsl.stream(lambda: net_of(12, 5), rules, tmp_path / "x.safetensors", strict=True, seed=1)
    assert initdsl.verify(tmp_path / "x.safetensors", rules, model=net)


def test_many_rows_take_no_time() -> None:
    rules = (
        "net.w as (64, 6, 64, -1)[:, 0:4] = 1; net.w as (64, 6, 64, -1)[*, -2] = 2; net.w as (64, 384, -1)[:, 320:] = 3"
    )
    assert initdsl.plan(net_of(64 * 6 * 64, 8), rules)["w"].status == "set"


# ---- unions

SAME = [
    "net.w[0], net.w[-4] += 1",
    "net.w[0:1], net.w[-4] += 1",
    "net.w[0], net.w as (4, -1)[0], net.w[0, :] += 1",
    "net.w[0, 0:], net.w[-4:-3], net.w as (2, 8)[0, 0:4] += 1",
    "net.w[0:4:4], net.w[0] += 1",
]


@pytest.mark.parametrize("rule", SAME)
def test_one_piece_under_several_indices_is_edited_once(rule: str) -> None:
    net = net_of(4, 4)
    initdsl.apply(net, rule)
    assert net.w.tolist() == [[1.0] * 4, *([[0.0] * 4] * 3)]


@pytest.mark.parametrize("rule", ["net.w, net.w[...], net.w[:], net.w as (16,), *.w[0:4] += 1"])
def test_the_whole_under_several_indices_is_edited_once(rule: str) -> None:
    net = net_of(4, 4)
    initdsl.apply(net, rule)
    assert bool((net.w == 1).all())


@pytest.mark.parametrize(
    "rule",
    [
        "net.w[0:2], net.w[1:3] += 1",
        "net.w[0], net.w[:, 0] *= 2",
        "net.w[0], net.w as (16,)[3:5] -= 1",
        "net.w, net.w[0] += normal(0, 1)",
        "net.w[0::2], net.w[0::3] = it * 2",
    ],
)
def test_pieces_that_overlap_are_no_edit(rule: str) -> None:
    with pytest.raises(initdsl.ResolveError, match="have elements in common, which this edits once"):
        initdsl.plan(net_of(4, 4), rule)


@pytest.mark.parametrize("rule", ["net.w[0::2], net.w[1::2] += 1", "net.w[0:2], net.w as (16,)[8:] += 1"])
def test_pieces_side_by_side_are(rule: str) -> None:
    net = net_of(4, 4)
    initdsl.apply(net, rule)
    assert bool((net.w == 1).all())
