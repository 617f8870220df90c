"""Two plans compared: every kind of change, and that the values of a fill agree with what is said of them."""

from __future__ import annotations

import copy
import json
import re

import pytest
import torch
from torch import nn

import initdsl


def net() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.Linear(8, 8), nn.Linear(8, 3))


BASE = "Linear.weight ~ normal(0, 0.02); Linear.bias = 0; LayerNorm.weight = 1; LayerNorm.bias = 0"
WEIGHTS = {"0.weight", "2.weight", "3.weight"}

# what is added to BASE, and which tensors are what then
CHANGES = {
    "nothing": ("", {}),
    "another spelling": ("Linear.bias = 1 - 1; net[2].weight ~ normal(mean=0, std=1/50)", {}),
    "a rule that loses": ("let s = 3; net[0].weight? = s; net[0].weight ~ normal(0, 0.02)", {}),
    "another order": ("LayerNorm.bias = 0; LayerNorm.weight = 1; Linear.bias = 0", {}),
    "an edit that is taken back": ("Linear.bias += 1; Linear.bias -= 1", {}),
    "another deviation": ("Linear.weight ~ normal(0, 0.01)", {"drawn": WEIGHTS}),
    "another distribution": ("net[2].weight ~ uniform(-0.02, 0.02)", {"drawn": {"2.weight"}}),
    "another initializer": ("net[2].weight ~ orthogonal()", {"drawn": {"2.weight"}}),
    "an argument of an initializer": ("net[2].weight ~ xavier_normal(gain=2)", {"drawn": {"2.weight"}}),
    "set where it was drawn": ("net[3].weight = 0", {"drawn": {"3.weight"}}),
    "drawn where it was set": ("net[3].bias ~ normal(0, 1)", {"drawn": {"3.bias"}}),
    "another value": ("LayerNorm.weight = 0.5", {"set": {"1.weight"}}),
    "one element": ("net[0].bias[3] = 1", {"set": {"0.bias"}}),
    "a slice": ("net[0].weight[0:2] *= 2", {"drawn": {"0.weight"}}),
    "an expression": ("net[0].bias = index(0)", {"set": {"0.bias"}}),
    "a copy": ("net[2].bias = net[0].bias + 1", {"set": {"2.bias"}}),
    "torch's default": ("default net[0]", {"drawn": {"0.weight", "0.bias"}}),
}  # fmt: skip


def names(changes) -> set[str]:
    return {change.name for change in changes}


@pytest.mark.parametrize("seed", [None, 3])
@pytest.mark.parametrize("case", CHANGES)
def test_what_changes(case: str, seed: int | None) -> None:
    added, expected = CHANGES[case]
    model = net()
    diff = initdsl.diff(*(initdsl.plan(model, rules, seed=seed) for rules in (BASE, f"{BASE}; {added}")))
    groups = {kind: names(changes) for kind, changes in diff.groups.items() if changes and kind != "moved"}
    assert groups == expected
    assert bool(diff) == bool(expected)
    assert diff.same == 8 - len(set().union(*expected.values()))


@pytest.mark.parametrize("case", CHANGES)
def test_the_values_of_a_fill_agree(case: str) -> None:
    """Under a seed, those that differ are those that are named."""
    added, _ = CHANGES[case]
    model = net()
    models = [copy.deepcopy(model), copy.deepcopy(model)]
    for one, rules in zip(models, (BASE, f"{BASE}; {added}"), strict=True):
        initdsl.apply(one, rules, seed=3)
    tensors = [dict(one.named_parameters()) for one in models]
    differ = {name for name in tensors[0] if not torch.equal(tensors[0][name], tensors[1][name])}
    diff = initdsl.diff(*(initdsl.plan(model, rules, seed=3) for rules in (BASE, f"{BASE}; {added}")))
    assert set().union(*map(names, diff.groups.values())) == differ


def test_what_is_made_of_what_changes() -> None:
    model = net()
    more = "net[3].bias = net[0].bias[0:3] + 1; copy net[0].bias net[2].bias"
    old, new = (initdsl.plan(model, f"{BASE}; {rule}; {more}", seed=1) for rule in ("", "net[0].bias = 2"))
    diff = initdsl.diff(old, new)
    assert names(diff.set) == {"0.bias"}
    assert names(diff.derived) == {"3.bias", "2.bias"}
    reseeded = initdsl.plan(model, f"{BASE}; net[3].bias = net[0].weight[0, 0:3]", seed=2)
    first = initdsl.plan(model, f"{BASE}; net[3].bias = net[0].weight[0, 0:3]", seed=1)
    assert names(initdsl.diff(first, reseeded).moved) == {*WEIGHTS, "3.bias"}


@pytest.mark.parametrize(("old", "new"), [
    ("0.02 / sqrt(2 * 12)", "0.02 * (2 * 12) ** -0.5"),
    ("0.02 / sqrt(3) / sqrt(5)", "0.02 / sqrt(15)"),
    ("1 / 49 * 49 * 0.02", "0.02"),
])  # fmt: skip
def test_the_last_digit_of_a_number_is_no_change(old: str, new: str) -> None:
    model = net()
    for rule in ("Linear.weight ~ normal(0, {})", "Linear.weight ~ xavier_normal(gain={})", "Linear.bias = {}"):
        plans = [initdsl.plan(model, f"{BASE}; {rule.format(number)}") for number in (old, new)]
        assert not initdsl.diff(*plans), rule
    seeded = [initdsl.plan(model, f"{BASE}; Linear.weight ~ normal(0, {number})", seed=1) for number in (old, new)]
    assert names(initdsl.diff(*seeded).moved) in (WEIGHTS, set())
    near = [initdsl.plan(model, f"{BASE}; Linear.weight ~ normal(0, {number})") for number in ("0.02", "0.0200001")]
    assert names(initdsl.diff(*near).drawn) == WEIGHTS


def test_whether_values_stay_is_said() -> None:
    model = net()
    plans = [initdsl.plan(model, BASE, seed=seed) for seed in (3, 3, 4, None)]
    assert str(initdsl.diff(plans[0], plans[1])).endswith("elements), with the same values under seed 3")
    assert "same values" not in str(initdsl.diff(plans[0], plans[2]))
    assert "same values" not in str(initdsl.diff(plans[3], plans[3]))


def test_growth_before_and_after() -> None:
    deep = nn.Sequential(*(nn.Linear(16, 16) for _ in range(8)))
    old, new = (initdsl.plan(deep, f"Linear.weight ~ normal(0, {std}); Linear.bias = 0") for std in (0.25, 0.025))
    before = {name: tensor.clone() for name, tensor in deep.named_parameters()}
    diff = initdsl.diff(old, new, input_shape=(4, 16))
    first, second = diff.growth
    assert first.layers == second.layers == 8
    assert 0.1 < first.activations < 10
    assert second.activations == pytest.approx(first.activations * 1e-7, rel=1e-3)
    assert "\nactivations x" in str(diff)
    assert diff.to_dict()["growth"][1]["layers"] == 8
    assert "gradients x" in diff.to_markdown()
    assert all(torch.equal(tensor, before[name]) for name, tensor in deep.named_parameters())
    sampled = initdsl.diff(old, old, sample=torch.ones(2, 16))
    assert "before and after" in str(sampled)
    described = initdsl.plan(initdsl.describe(deep)[0], "Linear.weight = 0")
    with pytest.raises(initdsl.ResolveError, match="there is no model to run"):
        initdsl.diff(described, described, input_shape=(4, 16))


def test_depths_are_a_range_in_one_row() -> None:
    model = nn.Sequential(*(nn.Linear(4, 4, bias=False) for _ in range(4)))
    old, new = (initdsl.plan(model, f"net[i].weight ~ normal(0, {std})") for std in ("1", "1 / (i + 1)"))
    row = str(initdsl.diff(old, new)).splitlines()[2]
    cells = [
        "{1..3}.weight x3",
        "4x4",
        "normal(0, 1)",
        "normal(0, 0.5) .. normal(0, 0.25)",
        "x0.5 .. x0.25",
        "<rules>:1",
    ]
    assert re.split(" {2,}", row.strip()) == cells


def test_long_tables_are_cut_and_counted() -> None:
    many = nn.ModuleDict({f"layer_{chr(97 + n % 26)}{chr(97 + n // 26)}": nn.Linear(2, 2) for n in range(150)})
    old, new = (initdsl.plan(many, f"Linear.weight ~ normal(0, {std}); Linear.bias = 0") for std in (1, 2))
    lines = str(initdsl.diff(old, new)).splitlines()
    assert "  and 50 rows more" in lines
    assert len(lines) == 1 + 1 + 100 + 1 + 1 + 1


def test_covered_and_no_longer() -> None:
    model = net()
    less = initdsl.plan(model, "Linear.weight ~ normal(0, 0.02); net[3].bias[0:2] = 1")
    more = initdsl.plan(model, BASE)
    assert names(initdsl.diff(less, more).covered) == {"0.bias", "2.bias", "3.bias", "1.weight", "1.bias"}
    back = initdsl.diff(more, less)
    assert names(back.uncovered) == {"0.bias", "2.bias", "3.bias", "1.weight", "1.bias"}
    assert not back.covered


def test_seeds_move_what_is_drawn_and_nothing_else() -> None:
    model = net()
    first, second, none = (initdsl.plan(model, BASE, seed=seed) for seed in (1, 2, None))
    assert names(initdsl.diff(first, second).moved) == WEIGHTS
    assert names(initdsl.diff(none, second).moved) == WEIGHTS
    assert not initdsl.diff(none, none)
    scaled = BASE.replace("~ normal(0, 0.02)", "~ normal(0, 1); Linear.weight *= 0.02")
    assert names(initdsl.diff(first, initdsl.plan(model, scaled, seed=1)).moved) == WEIGHTS  # they round otherwise
    assert not initdsl.diff(none, initdsl.plan(model, scaled))


def test_a_plan_of_a_manifest_is_that_of_the_network() -> None:
    model = net()
    network, _ = initdsl.describe(model)
    read = initdsl.Network.from_manifest(json.loads(json.dumps(network.to_manifest())))
    assert not initdsl.diff(initdsl.plan(model, BASE), initdsl.plan(read, BASE))


def test_other_networks() -> None:
    rules = "Linear.weight ~ normal(0, 0.02); Linear.bias = 0"
    old = nn.Sequential(nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 3))
    new = nn.Sequential(nn.Linear(6, 8), nn.Sequential(nn.Linear(8, 8)), nn.Linear(8, 4), nn.Linear(4, 4))
    diff = initdsl.diff(initdsl.plan(old, rules), initdsl.plan(new, rules))
    assert names(diff.removed) == {"1.weight", "1.bias"}
    assert names(diff.added) == {"1.0.weight", "1.0.bias", "3.weight", "3.bias"}
    assert names(diff.reshaped) == {"2.weight", "2.bias"}
    assert [(c.before.name, c.after.name) for c in diff.renamed] == [("1.weight", "1.0.weight"), ("1.bias", "1.0.bias")]
    assert "1.weight -> 1.0.weight" in str(diff)
    half = initdsl.diff(initdsl.plan(old, rules), initdsl.plan(copy.deepcopy(old).to(torch.bfloat16), rules))
    assert len(half.reshaped) == 6
    assert "8x6 float32 -> 8x6 bfloat16" in str(half)
    nothing = initdsl.diff(initdsl.plan(old, rules), initdsl.plan(nn.Embedding(2, 2), "Embedding.weight = 0"))
    assert (len(nothing.removed), len(nothing.added), nothing.same) == (6, 1, 0)


def test_a_doubtful_rename_is_not_proposed() -> None:
    rules = "Linear.weight ~ normal(0, 0.02)"
    old = nn.ModuleDict({"a": nn.Linear(2, 2, bias=False), "b": nn.Linear(2, 2, bias=False)})
    new = nn.ModuleDict({"c": nn.Linear(2, 2, bias=False)})
    assert not initdsl.diff(initdsl.plan(old, rules), initdsl.plan(new, rules)).renamed


def test_ties() -> None:
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    apart, tied = (
        initdsl.plan(model, f"Linear.weight = 0{more}") for more in ("", "; tie net[0].weight net[1].weight")
    )
    diff = initdsl.diff(apart, tied)
    assert [(change.names, change.tied) for change in diff.tied] == [(("0.weight", "1.weight"), True)]
    assert not any(diff.groups.values())
    assert diff
    assert [(change.names, change.tied) for change in initdsl.diff(tied, apart).tied] == [
        (("0.weight", "1.weight"), False)
    ]
    shared = copy.deepcopy(model)
    shared[1].weight = shared[0].weight
    by_code = initdsl.plan(shared, "Linear.weight = 0")
    assert [change.tied for change in initdsl.diff(apart, by_code).tied] == [True]
    assert not initdsl.diff(tied, by_code).tied


def test_layers_are_one_row_and_the_ratio_is_said() -> None:
    model = nn.Sequential(*(nn.Linear(4, 4) for _ in range(12)))
    old, new = (initdsl.plan(model, f"Linear.weight ~ normal(0, {std}); Linear.bias = 0") for std in (0.02, 0.0041))
    text = str(initdsl.diff(old, new))
    row = next(line for line in text.splitlines() if "{0..11}" in line)
    assert row.split() == [
        "{0..11}.weight",
        "x12",
        "4x4",
        "normal(0,",
        "0.02)",
        "normal(0,",
        "0.0041)",
        "x0.205",
        "<rules>:1",
    ]
    assert text.endswith("12 drawn otherwise; 12 as before (48 elements)")


def test_json_is_versioned_and_plain() -> None:
    model = net()
    old, new = initdsl.plan(model, BASE), initdsl.plan(model, f"{BASE}; net[3] {{ .weight = 0; .bias = 2 }}")
    data = json.loads(json.dumps(initdsl.diff(old, new).to_dict()))
    assert (data["format"], data["version"], data["changed"]) == ("initdsl-diff", 1, True)
    assert [change["name"] for change in data["drawn"]] == ["3.weight"]
    assert data["set"][0]["after"]["effect"] == "2"
    assert data["same"] == {"tensors": 6, "elements": 48 + 8 + 8 + 8 + 64 + 8}


def test_a_comment_keeps_its_limit_and_is_no_markup() -> None:
    many = nn.ModuleDict({f"layer_{chr(97 + n % 26)}{chr(97 + n // 26)}": nn.Linear(2, 2) for n in range(300)})
    old, new = (initdsl.plan(many, f"Linear.weight ~ normal(0, {std}); Linear.bias = 0") for std in (1, 2))
    diff = initdsl.diff(old, new)
    whole = diff.to_markdown(10**9)
    assert whole.count("| `layer_") == 300
    assert "<details><summary>300 drawn otherwise</summary>" in whole
    for largest in (10_000, 1_000, 300):
        text = diff.to_markdown(largest)
        assert len(text) <= largest
        assert text.startswith("**Initialization:** 300 drawn otherwise; 300 as before")
    text = diff.to_markdown(10_000)
    shown = text.count("| `layer_")
    assert 10 < shown < 300
    assert f"| and {300 - shown} rows more" in text
    odd = nn.ModuleDict({"a|b`<script>": nn.Linear(2, 2, bias=False)})
    text = initdsl.diff(initdsl.plan(odd, ""), initdsl.plan(odd, "Linear.weight = 0")).to_markdown()
    assert "`a\\|b'<script>.weight`" in text


def test_what_is_no_plan() -> None:
    with pytest.raises(TypeError, match="plans are compared, not Linear"):
        initdsl.diff(nn.Linear(2, 2), nn.Linear(2, 2))
