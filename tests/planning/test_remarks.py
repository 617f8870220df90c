"""Rules that later ones replace everywhere, and draws over values that were loaded or are frozen: said wherever rules run."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import nn

import initdsl
from initdsl.linter import against
from initdsl.linter.config import Config
from initdsl.linter.run import lint_file


class Mixer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.dt_proj = nn.Linear(2, 8)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mixer, self.head, self.norm = Mixer(), nn.Linear(8, 3), nn.LayerNorm(3)


def remarks(rules: str, net: nn.Module | None = None, **options: Any) -> list[tuple[str, int]]:
    return [(one.name, one.line) for one in initdsl.plan(net or Net(), rules, **options).remarks]


# ---- rules that later ones replace


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ("net.head.weight = 0\nLinear.weight ~ normal(0, 1)", [("shadowed-rule", 1)]),
        ("Mixer { .dt_proj.bias ~ uniform(-7, -2) }\nLinear.bias = 0", [("shadowed-rule", 1)]),
        ("Linear.weight ~ normal(0, 1)\nLayerNorm.* = 1\nkeep net", [("shadowed-rule", 1), ("shadowed-rule", 2)]),
        ("/head/ = 5\nLinear.weight, Linear.bias ~ normal(0, 1)", [("shadowed-rule", 1)]),
        ("/head/ = 5\nLinear.weight ~ normal(0, 1)", []),
        ("Mixer.dt_proj.bias += 1\nLinear.bias = 0", [("dead-edit", 1)]),
        ("net.head.weight[0] = 1\nnet.head.weight as (3, 4, 2)[0] ~ normal(0, 1)\nLinear.weight = 2", [("dead-edit", 1), ("dead-edit", 2)]),
        ("net.head.weight = it * 2\nLinear.weight = 2", [("dead-edit", 1)]),
        ("default net.head\nLinear.* ~ normal(0, 1)", [("shadowed-rule", 1)]),
        # pieces that make up the whole
        ("net.head.weight = 0\nnet.head.weight[:] = 1", [("shadowed-rule", 1)]),
        ("net.head.weight = 0\nnet.head.weight[:2] = 1\nnet.head.weight[2:] ~ normal(0, 1)", [("shadowed-rule", 1)]),
        ("net.head.weight = 0\nnet.head.weight as (3, 2, 4)[:, 0:1] = 1\nnet.head.weight as (3, 2, 4)[:, 1:] = 2",
         [("shadowed-rule", 1)]),
        ("net.head.weight[0] = 5\nnet.head.weight[*] = 1", [("dead-edit", 1)]),
        ("keep net.head.bias\nnet.head.bias[:] = index(0)", [("shadowed-rule", 1)]),
        ("net.head.weight = 0\nnet.head.weight[:2] = 1", []),
        ("net.head.weight ~ normal(0, 1)\nnet.head.weight[:2] *= 2\nnet.head.weight[2:] = 1", []),
        ("net.head.weight = 0\nnet.head.weight[:] = 1 + it", []),
        ("Linear.weight = 0\nnet.head.weight[:] = 1", []),
        ("net.head.weight ~ normal(0, 1)\nnet.head.weight[1:] = net.head.weight[0:2]\nnet.head.weight[0] = 1", []),
        ("keep net.head\nLinear.* ~ normal(0, 1)", [("shadowed-rule", 1)]),
        ("net.norm.weight = net.norm.bias\nLayerNorm.weight = 1", [("shadowed-rule", 1)]),
        ("Linear.weight = 1\nnet.head.weight = 0", []),
        ("Linear.weight ~ normal(0, 1)\nnet.head.weight = 0\nnet.mixer.dt_proj.weight = 0", [("shadowed-rule", 1)]),
        ("*.weight, *.bias = 1\nLinear.* ~ normal(0, 1)\nLayerNorm.* = 1", []),  # a background for all there is
        ("keep net\nLinear.* ~ normal(0, 1)\nLayerNorm.* = 1", []),
        ("Linear.bias = 0\nLinear.bias += 1", []),
        ("Conv2d.weight = 0\n*.weight = 1", []),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore")
def test_rules_that_later_ones_replace(rules: str, expected: list[tuple[str, int]]) -> None:
    assert remarks(rules) == expected


SHADOWED = "net.head.weight = 0\nLinear.weight ~ normal(0, 1)\n*.bias, LayerNorm.weight = 0"

WAYS: dict[str, Callable[[], Any]] = {
    "apply": lambda: initdsl.apply(Net(), SHADOWED),
    "materialize": lambda: initdsl.materialize(Net, SHADOWED, seed=0),
    "as_init_fn": lambda: initdsl.parse(SHADOWED).as_init_fn(Net()),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_rule_that_does_nothing_is_a_warning_of_its_own(way: str) -> None:
    with pytest.warns(
        initdsl.OverruledRuleWarning, match=r"`Linear.weight ~ normal\(0, 1\)` in line 2 sets everything this rule does"
    ):
        WAYS[way]()


def test_stream_says_it_too(tmp_path: Path) -> None:
    with pytest.warns(initdsl.OverruledRuleWarning, match="in line 2 sets everything"):
        initdsl.stream(Net, SHADOWED, tmp_path / "out", seed=0)


def test_the_plan_has_a_line_for_each_and_the_page_too() -> None:
    plan = initdsl.plan(Net(), f"net.head.weight += 1\n{SHADOWED}")
    lines = [line for line in str(plan).splitlines() if line.startswith("warning[")]
    assert [line.partition(":")[0] for line in lines] == ["warning[dead-edit]", "warning[shadowed-rule]"]
    assert [one["name"] for one in plan.to_dict()["remarks"]] == ["dead-edit", "shadowed-rule"]


def test_what_a_use_brings_in_is_there_to_be_replaced(tmp_path: Path) -> None:
    (tmp_path / "base.init").write_text("Linear.weight ~ normal(0, 1)\nLinear.bias = 0\nLinear.bias = 1\n")
    (tmp_path / "main.init").write_text('use "base.init"\nLinear.weight = 0\n')
    plan = initdsl.plan(Net(), tmp_path / "main.init")
    assert [(one.name, Path(one.file or "").name, one.line) for one in plan.remarks] == [
        ("shadowed-rule", "base.init", 2)
    ]
    (tmp_path / "late.init").write_text('net.head.weight = 0\nuse "base.init"\n')
    plan = initdsl.plan(Net(), tmp_path / "late.init")
    assert ("shadowed-rule", "late.init") in [(one.name, Path(one.file or "").name) for one in plan.remarks]


def test_a_recipe_says_nothing_of_its_own_rules(tmp_path: Path) -> None:
    class MuReadout(nn.Linear):
        pass

    base, _ = initdsl.describe(MuReadout(4, 3))
    (tmp_path / "base.json").write_text(json.dumps(base.to_manifest()))
    net = MuReadout(8, 3)
    assert initdsl.plan(net, 'use "initdsl:mup"', root=tmp_path).remarks == ()
    above = initdsl.plan(net, 'net.bias = 1\nuse "initdsl:mup"', root=tmp_path)
    assert [(one.name, one.line) for one in above.remarks] == [("shadowed-rule", 1)]


def test_tied_names_are_no_rules_that_are_lost_where_both_say_the_same() -> None:
    def tied() -> nn.Module:
        net = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 5, bias=False))
        net[1].weight = net[0].weight
        return net

    assert remarks("Embedding.weight ~ normal(0, 1)\nLinear.weight ~ normal(0, 1)", tied()) == []
    assert remarks("Embedding.weight ~ normal(0, 1)\nLinear.weight ~ normal(0, 2)", tied()) == [("shadowed-rule", 1)]


def test_lint_finds_each_once(tmp_path: Path) -> None:
    path = tmp_path / "a.init"
    path.write_text(
        "net.head.weight = 0\nMixer { .dt_proj.bias += 1 }\nnet.norm.weight = 1\nnet.norm.weight = 1\nLinear.weight ~ normal(0, 1)\n"
        "net.head.bias = 0  # initdsl: ignore[shadowed-rule] to be seen\nLinear.bias, net.norm.bias = 0\n"
    )
    found = lint_file(path, config=Config(), network=against(Net()))
    assert [(f.name, f.line) for f in found] == [("shadowed-rule", 1), ("dead-edit", 2), ("duplicate-rule", 3)]


# ---- loaded and frozen


def frozen() -> nn.Module:
    net = Net()
    net.mixer.requires_grad_(False)
    return net


def loaded() -> nn.Module:
    net = Net()
    for parameter in net.mixer.parameters():
        parameter._is_hf_initialized = True  # type: ignore[attr-defined]
    return net


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ("Linear.* ~ normal(0, 1)", ["this draws over 2 parameters that are frozen"]),
        ("Linear.weight ~ normal(0, 1); Linear.bias = 0", ["this draws over 1 parameter that is frozen"]),
        ("Linear.weight += normal(0, 1)", []), ("Linear.weight = 0", []), ("default Linear", ["this draws over 2 parameters that are frozen"]),
        ("Linear.weight(requires_grad) ~ normal(0, 1)", []), ("Linear.weight(!requires_grad) ~ normal(0, 1)", []),
        ("Linear.* ~ normal(0, 1); keep net.mixer", []), ("net.head.* ~ normal(0, 1)", []),
    ],
)  # fmt: skip
def test_frozen_parameters(rules: str, expected: list[str]) -> None:
    assert [one.message.partition(":")[0] for one in initdsl.plan(frozen(), rules).remarks] == expected


@pytest.mark.parametrize("norm", [nn.utils.parametrizations.weight_norm, nn.utils.weight_norm])
def test_frozen_and_loaded_computed_weights(norm: Callable[[nn.Module], nn.Module]) -> None:
    net = nn.Sequential(norm(nn.Linear(3, 3)), norm(nn.Linear(3, 3)))
    assert not initdsl.plan(net, "Linear.* ~ normal(0, 1)").remarks
    net[0].requires_grad_(False)
    for parameter in net[1].parameters():
        parameter._is_hf_initialized = True
    found = [one.message for one in initdsl.plan(net, "Linear.weight ~ normal(0, 1)").remarks]
    assert found == [
        "this draws over 1 parameter that was loaded: `net[1].weight`",
        "this draws over 1 parameter that is frozen: `net[0].weight`",
    ]


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ("Linear.* ~ normal(0, 1)", ["this draws over 2 parameters that were loaded"]),
        ("Linear.weight = 0", ["this draws over 1 parameter that was loaded"]), ("keep net", []), ("net.head.* = 0", []),
        ("net.mixer.dt_proj.bias = net.mixer.dt_proj.weight[:, 0]", ["this draws over 1 parameter that was loaded"]),
    ],
)  # fmt: skip
def test_loaded_parameters(rules: str, expected: list[str]) -> None:
    assert [one.message.partition(":")[0] for one in initdsl.plan(loaded(), rules).remarks] == expected
    network = initdsl.Network.from_manifest(initdsl.describe(loaded())[0].to_manifest())
    assert [one.name for one in initdsl.plan(network, rules).remarks] == ["redrawn-load"] * len(expected)


def test_the_warning_can_be_silenced_alone() -> None:
    with pytest.warns(initdsl.RedrawnParameterWarning, match="2 parameters that are frozen"):
        initdsl.apply(frozen(), "Linear.* ~ normal(0, 1); LayerNorm.* = 1")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", initdsl.RedrawnParameterWarning)
        initdsl.apply(frozen(), "Linear.* ~ normal(0, 1); LayerNorm.* = 1")


def test_a_load_over_what_is_frozen_is_meant(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    save_file({name: torch.ones_like(p) for name, p in Net().named_parameters()}, str(tmp_path / "a.safetensors"))
    assert remarks('net = load("a.safetensors")', frozen(), root=tmp_path) == []


# ---- errors beside other findings


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        # an error of one rule, and what is found of others
        ("net.head.weight ~ normal(0, nonsense)\nMixer.dt_proj.weight = 0\nLinear.bias, LayerNorm.* = 0", {("unknown-name", 1)}),
        ("LayerNorm.weight = [1, 2]\nLinear.* = 0", {("bad-shape", 1), ("uncovered-parameter", 1)}),
        ("net.hed.weight = 0\nLinear.bias = 0", {("unmatched-selector", 1)}),
        ("net.head.weight[7] = 0\nMixer.dt_proj.bias = 1\nLinear.bias = 0\nLinear.weight ~ xavier_uniform()",
         {("bad-index", 1), ("shadowed-rule", 2), ("uncovered-parameter", 1)}),
        ("net.head.weight = 0\nLinear.weight ~ normal(0, -1)\nnet.mixer.dt_proj.bias = 0\n*.bias = 0",
         {("bad-argument", 2), ("shadowed-rule", 3), ("uncovered-parameter", 1)}),
    ],
)  # fmt: skip
def test_an_error_hides_nothing_that_is_wrong_elsewhere(
    tmp_path: Path, rules: str, expected: set[tuple[str, int]]
) -> None:
    path = tmp_path / "a.init"
    path.write_text(rules)
    found = {(f.name, f.line) for f in lint_file(path, config=Config(), network=against(Net()))}
    assert expected <= found
    assert {name for name, _ in found} - {"constant-weight", "identical-layers", "zeroed-norm"} == {
        name for name, _ in expected
    }
