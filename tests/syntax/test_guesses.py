"""What people write from habit, and the hint each of it gets."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import nn

import initdsl


def hint(rules: str, net: nn.Module | None = None) -> str:
    with pytest.raises(initdsl.InitDSLError) as refused:
        initdsl.plan(net or nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2)), rules)
    return refused.value.diagnostics[0].hint or ""


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ("Linear.weight ~ kaiming_normal(nonlinearity=silu)", "torch has no gain for `silu`: take `relu`"),
        ("Linear.weight ~ kaiming_uniform(nonlinearity=gelu)", "torch has no gain for `gelu`: take `relu`"),
        ("Linear.weight ~ xavier_normal(gain=calculate_gain(hardtanh))", "torch has no gain for `hardtanh`: take `tanh`"),
        ("Linear.weight ~ kaiming_normal(nonlinearity=rellu)", "did you mean `relu`?"),
        ("Linear.weight ~ xavier", "a call has parentheses: `xavier_normal()`"),
        ("Linear.weight ~ kaiming", "a call has parentheses: `kaiming_normal()`"),
        ("Linear.weight ~ gaussian", "a call has parentheses: `normal()`"),
        ("Linear = default", "write `default Linear`"), ("net[0].weight = default", "write `default net[0].weight`"),
        ("Linear.bias ~ uniform(-1 / math.sqrt(fan_in), 1)", "write `sqrt(...)`"),
        ("Linear.bias = 1 / np.sqrt(in_features)", "write `sqrt(...)`"),
        ("Linear.weight ~ torch.randn(2)", "write `randn(...)`"),
        ("Linear.weight ~ nn.init.normal_(0, 1)", "functions here have plain names: `normal(0, 1)`"),
        ("Linear.weight ~ truncated_normal(0, 1)", "did you mean `trunc_normal`?"), ("Linear.weight ~ randn()", "did you mean `normal`?"),
        ("Linear.weight ~ kaiming_normal_()", "did you mean `kaiming_normal`?"), ("Linear.weight ~ lognormal(0, 1)", "write `exp(normal(mean, std))`"),
        ("Linear.bias ~ uniform(-1 / sqrt(fan_in), 1)", "`fan_in(weight)` is that of the layer's weight"),
        ('load net.backbone from "x.safetensors"', '`net.backbone = load("backbone.safetensors")` loads'),
        ("strict", "`expect net covered` refuses uncovered parameters"), ("strict\nLinear.weight = 0", "`expect net covered`"),
        ("freeze net[0]", "`keep` leaves a parameter's values"), ('include "a.init"', '`use "base.init"`'),
        ("expect net[0] tied net[2]", "write `expect tied A B`"), ("Linear.weight ~ gelu()", "`gelu` is an activation: `kaiming_normal(nonlinearity=relu)`"),
        ("Linear.weight ~ Sigmoid()", "`Sigmoid` is an activation: `kaiming_normal(nonlinearity=sigmoid)`"),
        ("Linear.weight ~ normal(0, gain(relu))", "did you mean `calculate_gain`?"),
        ("for i in range(3) { }", "binds their index"), ("net(!requires_grad).weight = 0", "`net.**(...)` and `*.*(...)`"),
    ],
)  # fmt: skip
def test_habits(rules: str, expected: str) -> None:
    assert expected in hint(rules)


@pytest.mark.parametrize("rules", ["freeze net", "Linear.weight = 0\n  freeze net[0]", "freeze"])
def test_a_guess_points_at_the_word(rules: str) -> None:
    with pytest.raises(initdsl.InitDSLError) as refused:
        initdsl.parse(rules)
    span = refused.value.diagnostics[0].span
    assert span is not None
    assert rules[span.start : span.end] == "freeze"


def linted(rules: str, lint: str, folder: Path) -> list[initdsl.Diagnostic]:
    (folder / "x.init").write_text(rules)
    return [found for found in initdsl.lint(folder / "x.init") if found.name == lint]


@pytest.mark.parametrize(("word", "expected"), [("gelu", "take `relu`"), ('"silu"', "take `relu`"), ('"relu"', None)])
def test_gains_are_looked_at_without_a_network(word: str, expected: str | None, tmp_path: Path) -> None:
    found = linted(f"Linear.weight ~ xavier_normal(calculate_gain({word}))", "bad-argument", tmp_path)
    assert [expected in (f.hint or "") for f in found] == ([] if expected is None else [True])


@pytest.mark.parametrize(
    ("call", "expected"), [("gelu()", "is an activation"), ("laplace()", "initializers"), ("xavier()", "did you")]
)
def test_unknown_calls_are_told_without_a_network(call: str, expected: str, tmp_path: Path) -> None:
    (found,) = linted(f"Linear.weight ~ {call}", "unknown-initializer", tmp_path)
    assert expected in (found.hint or "")


def test_what_only_sounds_alike_is_not_proposed() -> None:
    assert "linspace" not in hint("Linear.weight ~ laplace(0, 1)")
    assert "selu" not in hint("Linear.weight ~ kaiming_normal(nonlinearity=silu)")


class Rope(nn.Module):
    def __init__(self, buffers: bool) -> None:
        super().__init__()
        if buffers:
            self.register_buffer("inv_freq", nn.Parameter().data)


def test_a_module_without_parameters_is_not_told_to_look_below() -> None:
    assert "**.**" not in hint("Rope = 0", nn.Sequential(Rope(True)))
    assert "Rope.inv_freq" in hint("Rope = 0", nn.Sequential(Rope(True)))
    assert hint("Rope = 0", nn.Sequential(Rope(False))) == "it has no parameters"


def test_the_hint_of_the_meta_device_says_what_to_empty_loses() -> None:
    net = nn.Linear(2, 2, device="meta")
    with pytest.raises(initdsl.ResolveError, match=r"after `net.to_empty\(device=\.\.\.\)` tied parameters are two"):
        initdsl.apply(net, "Linear.* = 0")
