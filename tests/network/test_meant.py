"""Paths that begin with no class: what is said of them, and what is proposed."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import initdsl
from initdsl.linter.fixes import applied


class Mlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.c_proj = nn.Linear(4, 8), nn.Linear(8, 4)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mlp, self.norm = Mlp(), nn.LayerNorm(4)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([Block(), Block()])
        self.head = nn.Linear(4, 3)


WAYS: dict[str, Callable[[str], Any]] = {
    "plan": lambda rules: initdsl.plan(Net(), rules),
    "apply": lambda rules: initdsl.apply(Net(), rules),
    "materialize": lambda rules: initdsl.materialize(Net, rules, seed=0),
    "verify": lambda rules: initdsl.verify(Net(), rules),
    "as_init_fn": lambda rules: initdsl.parse(rules).as_init_fn(Net()),
}


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("layers.0.mlp.up.weight", "net.layers[0].mlp.up.weight"), ("layers[0].mlp.up.weight", "net.layers[0].mlp.up.weight"),
        ("layers[i].mlp.up.weight", "net.layers[i].mlp.up.weight"), ("layers.*.mlp.up.weight", "net.layers.*.mlp.up.weight"),
        ("head.weight", "net.head.weight"), ("model.layers.1.norm.bias", "net.layers[1].norm.bias"),
        ("self.head.weight", "net.head.weight"), ("module.head.weight", "net.head.weight"),
        ("transformer.layers.0.norm.weight", "net.layers[0].norm.weight"), ("c_proj.weight", "*.c_proj.weight"),
        ("mlp.up.weight", "*.mlp.up.weight"), ("weight", "*.weight"), ("layers.0.mlp.up.weight[0]", "net.layers[0].mlp.up.weight[0]"),
        ("net.model.head.weight", "net.head.weight"), ("net.haed.weight", "net.head.weight"),
    ],
)  # fmt: skip
def test_the_path_that_was_meant_is_the_fix(written: str, meant: str) -> None:
    rules = f"{written} = 0"
    with pytest.raises(initdsl.ResolveError) as refused:
        initdsl.plan(Net(), rules)
    (finding,) = refused.value.diagnostics
    assert finding.fix is not None
    assert meant in (finding.hint or "") or written == "net.haed.weight"
    assert applied(rules, [finding.fix])[0] == f"{meant} = 0"
    assert initdsl.apply(Net(), f"{meant} = 0").unmatched == []


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "rules",
    [
        "head.weight = 0", "lora_A.weight = 0", "keep layers.0", "default head", "head { .weight = 0 }",
        "Linear.weight in mlp = 0", "Linear.weight not in head = 0", "tie head.weight net.layers[0].mlp.up.weight",
        "expect head covered", "Linear.weight, head.bias = 0", "net.layers[0] { mlp.up.weight = 0 }", "head.weight? = 0",
        "copy net.layers[0] layers.1",
    ],
)  # fmt: skip
def test_it_is_an_error_wherever_a_selector_stands(way: str, rules: str) -> None:
    with pytest.raises(initdsl.ResolveError, match="is taken for a class, and there is none of that name"):
        WAYS[way](rules)


def test_a_class_in_lower_case_is_one_where_it_is_there() -> None:
    class resnet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 1, 1)

    assert initdsl.apply(nn.Sequential(resnet()), "resnet.conv.weight = 0", strict=False).unmatched == []


@pytest.mark.parametrize("rules", ["Rope.weight = 0", "Rope { .weight = 0 }", "keep Rope", "Rope.a, Yarn.a = 0"])
def test_a_class_that_is_not_there_is_an_error_under_strict(rules: str) -> None:
    every = f"*.weight, *.bias = 1\n{rules}"
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert initdsl.apply(Net(), every).unmatched
    assert said
    with pytest.raises(initdsl.ResolveError, match="there is no `Rope`"):
        initdsl.apply(Net(), every, strict=True)
    with pytest.raises(initdsl.ResolveError, match="there is no `Rope`"):
        initdsl.materialize(Net, every, strict=True, seed=0)


def test_strict_takes_a_rule_of_which_a_part_is_there_or_that_may_select_nothing() -> None:
    with pytest.warns(initdsl.UnmatchedRuleWarning, match="Rope"):
        initdsl.apply(Net(), "*.weight, *.bias, Rope.a = 1; Rope.weight? = 0", strict=True)


def test_layers_that_export_rebuilt_are_said_to_have_lost_their_classes() -> None:
    exported = torch.export.export(nn.Sequential(nn.Linear(4, 2)), (torch.zeros(1, 4),)).module()
    with pytest.warns(initdsl.UnmatchedRuleWarning, match="`torch.export` rebuilds are of the class `Module`"):
        initdsl.apply(exported, "Linear.weight = 0")
