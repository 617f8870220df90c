"""What is said of selectors that select nothing, too much or what can't be written to."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import initdsl
from initdsl.network.selectors.in_part import IN_A_STAGE
from tests.support.nets import mlp, names_of


@pytest.mark.parametrize(
    ("rule", "hint"),
    [
        ("net[0] = 0", "net[0].*"),
        ("net ~ normal()", "net.**"),
        ("net += 1", "net.**"),
        ("Linear = 0", "Linear.*"),
        ("net.* = 0", "net.*.*"),
    ],
)
def test_assigning_to_a_module(rule: str, hint: str) -> None:
    with pytest.raises(initdsl.ResolveError) as caught:
        initdsl.apply(mlp(), rule)
    assert names_of(caught.value) == ["needs-parameter"]
    assert hint in (caught.value.diagnostics[0].hint or "")


def test_a_plain_none_in_place_of_a_parameter_is_told() -> None:
    class Norm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(2))
            self.bias = None  # as nanoGPT's LayerNorm: never registered

    with pytest.raises(initdsl.ResolveError) as caught:
        initdsl.plan(nn.Sequential(Norm(), Norm()), "Norm.bias = 0")
    assert caught.value.diagnostics[0].hint == "`bias` is None there; a selector that may match nothing ends in `?`"
    assert initdsl.plan(nn.Sequential(Norm(), Norm()), "Norm.bias? = 0").uncovered


@pytest.mark.parametrize(
    ("rule", "name", "text"),
    [
        ("net.head.weight = 0", "unmatched-selector", "head"),
        ("net[0].wieght = 0", "unmatched-selector", "did you mean `weight`?"),
        ("net[9].weight = 0", "unmatched-selector", "no such index"),
        ("/nope/ = 0", "unmatched-selector", "regular expression"),
        ("Linear.weight in net.nope = 0", "unmatched-selector", "nope"),
        ("Linear.weight not in net.nope = 0", "unmatched-selector", "nope"),
        ("Linear.weight in (net[0], net.nope) = 0", "unmatched-selector", "nope"),
        ("(Linear.weight, net.nope) in net = 0", "unmatched-selector", "nope"),
        ("Linear.weight, net.nope = 0", "unmatched-selector", "nope"),
        ("Linear.weight in net[1] = 0", "unmatched-selector", "inside"),
        ("Linear.weight not in net = 0", "unmatched-selector", "outside"),
        ("Linear(in_features=99).weight = 0", "unmatched-selector", "meets this condition"),
        ("Linear(in_feature=4).weight = 0", "unknown-attribute", "did you mean `in_features`?"),
        ("net.**.foo = 0", "unmatched-selector", "foo"),
        ("net[0].weight.data = 0", "unmatched-selector", "nothing inside"),
        ("net { Linear { .nope = 0 } }", "unmatched-selector", "nope"),
        ("net.**[9].weight = 0", "unmatched-selector", "no such index"),
        ("net[0:1.5].weight = 0", "bad-index", "an index must be an integer, this is 1.5"),
        ("net[true:].weight = 0", "bad-index", "an index must be an integer, this is `true`"),
        ("net[0, 1].weight = 0", "bad-index", "a module takes one index"),
        ("net[...].weight = 0", "bad-index", "every child is `[*]`"),
    ],
)
def test_selecting_nothing_is_an_error(rule: str, name: str, text: str) -> None:
    with pytest.raises(initdsl.ResolveError) as caught:
        initdsl.apply(mlp(), rule)
    assert names_of(caught.value) == [name]
    assert text in str(caught.value)


def test_what_is_said_of_several_modules() -> None:
    def said(net: nn.Module, rules: str) -> list[tuple[str, str | None]]:
        with pytest.raises(initdsl.ResolveError) as caught:
            initdsl.plan(net, rules)
        return [(found.message, found.hint) for found in caught.value.diagnostics]

    one, two = nn.Sequential(nn.Linear(1, 1)), nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))
    assert said(nn.Sequential(one, one), "net[*][5].weight = 0; net[*].foo = 0; net[0][0].xyz = 0") == [
        ("there is no such index in `net[0]` and 1 more", "it has 1 child by index"),
        ("there is no `foo` in `net[0]` and 1 more", "there is `0`"),
        ("there is no `xyz` in `net[0][0]`", "there are `weight`, `bias`"),
    ]
    assert said(nn.Sequential(one, two), "net[*][5].weight = 0") == [
        ("there is no such index in `net[0]` and 1 more", None)
    ]


class Derived(nn.Linear):
    """A class of its own that is a Linear too."""


@pytest.mark.parametrize(
    ("net", "rule", "message", "hint"),
    [
        (nn.Sequential(nn.Linear(1, 1)), "net[3].weight = 0", "there is no such index in `net`", "it has 1 child by index"),
        (mlp(), "net[9].weight = 0", "there is no such index in `net`", "it has 5 children by index"),
        (nn.ModuleDict({"4": nn.Linear(1, 1), "a": nn.Linear(1, 1)}), "net[3].* = 0", "there is no such index in `net`", f"its integer key is `4`; {IN_A_STAGE}"),
        (nn.ModuleDict({"4": nn.Linear(1, 1), "5": nn.Linear(1, 1)}), "net[3].* = 0", "there is no such index in `net`", f"its integer keys are `4`, `5`; {IN_A_STAGE}"),
        (
            nn.ModuleDict({"b": nn.Linear(1, 1)}), "net[3].* = 0", "there is no such index in `net`",
            'its keys are no integers: `[*]` is every one, `["b"]` that one',
        ),
        (mlp(), "net[1].* = 0", "there are no parameters in `net[1]`", None),
        (mlp(), "net[1].weight = 0", "there is no `weight` in `net[1]`", None),
        (mlp(), "Linear.weight in net[1] = 0", "nothing of the first lies inside the second", None),
        (mlp(), "Linear.weight not in net = 0", "nothing of the first lies outside the second", None),
        (nn.Sequential(nn.Linear(1, 1)), "Linear.foo = 0", "there is no `foo` in `Linear`", "there are `weight`, `bias`"),
        (mlp(), "net[0] { net[2].weight = 0 }", "nothing of this lies inside the block's selector", None),
        (
            nn.Sequential(Derived(1, 1)), "Linear.weight = 0",
            "`Linear` selects 0 of 1 subclass of Linear (`Derived`)", "`Linear+` would",
        ),
        (mlp(), "net[net].weight = 0", "`net` can't be bound", "take another name"),
        (mlp(), "net[it].weight = 0", "`it` can't be bound", "take another name"),
    ],
)  # fmt: skip
def test_the_whole_words_of_what_selects_nothing(net: nn.Module, rule: str, message: str, hint: str | None) -> None:
    with pytest.raises(initdsl.ResolveError) as caught:
        initdsl.plan(net, rule)
    (found,) = caught.value.diagnostics
    assert (found.message, found.hint) == (message, hint)


def stage(keys: list[int], embed: bool, head: bool) -> nn.Module:
    """Return a model of which a stage keeps some layers; what it lacks is None, as torchtitan leaves it."""
    net = nn.Module()
    net.embed, net.head = nn.Embedding(4, 8), nn.Linear(8, 4)
    net.layers = nn.ModuleDict({str(key): nn.Linear(8, 8) for key in keys})
    net.embed, net.head = net.embed if embed else None, net.head if head else None
    return net


@pytest.mark.parametrize(
    ("keys", "embed", "head", "rule"),
    [
        ([2, 3], False, True, "net.embed.weight = 0"), ([2, 3], False, True, "keep net.embed"),
        ([2, 3], False, False, "net.layers[*].weight = net.head.weight[0, 0]"), ([2, 3], False, True, "net.head.bias = len(net.embed)"),
        ([0, 1], True, False, "net.head.weight = 0"), ([0, 1], True, False, "copy net.embed net.head"),
        ([0, 1], True, False, "net.layers[3].weight = 0"), ([0, 1], True, False, "net.embed.weight = net.head.weight[0, 0]"),
        ([0, 1], True, False, "net.embed.weight = len(net.head)"), ([], False, True, "net.embed.weight = 0"),
    ],
)  # fmt: skip
def test_what_a_stage_lacks_is_in_the_whole_model(keys: list[int], embed: bool, head: bool, rule: str) -> None:
    with pytest.raises(initdsl.ResolveError) as caught:
        initdsl.plan(stage(keys, embed, head), rule, seed=1)
    assert "`whole=`" in str(caught.value.diagnostics[0].hint)


@pytest.mark.parametrize("plain", [False, True])
def test_a_part_does_not_take_what_stands_for_a_value_of_another(plain: bool) -> None:
    rule, net = "net.layers[*].bias = given(net.head.bias[0], 5)", stage([2, 3], False, False)
    if plain:
        del net.head
        net.head = None
    with pytest.raises(initdsl.ResolveError) as caught:
        initdsl.plan(net, rule, seed=1)
    assert "`whole=`" in str(caught.value.diagnostics[0].hint)
    initdsl.apply(net, "net.head.bias = 2; " + rule, seed=1, whole=stage([0, 1, 2, 3], True, True))
    assert (net.layers["2"].bias == 2).all()
    initdsl.apply(net, rule, seed=1, whole=net)
    assert (net.layers["2"].bias == 5).all()


@pytest.mark.parametrize("net", [nn.Sequential(nn.Linear(1, 1)), mlp(), stage([0, 1], True, True)])
def test_other_models_are_not_taken_for_a_stage(net: nn.Module) -> None:
    with pytest.raises(initdsl.ResolveError) as caught:
        initdsl.plan(net, "net.haed.weight = 0")
    assert "whole" not in str(caught.value)
