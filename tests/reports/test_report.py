"""What plans and reports show."""

from __future__ import annotations

from torch import nn

import initdsl
from initdsl.language.rules.loader import packaged_recipes
from initdsl.reports.table import plan_text


def layers(count: int = 4) -> nn.Module:
    return nn.Sequential(*[nn.Linear(2, 2) for _ in range(count)])


def test_a_number_that_a_formula_came_to_is_shown() -> None:
    plan = initdsl.plan(layers(), "net[i].weight = i * 10; Linear.bias = len(net)")
    shown = str(plan)
    assert "0 .. 30" in shown
    assert shown.split("\n")[2].split()[-2:] == ["4", "<rules>:1"]


def test_a_number_that_the_rule_says_is_not_shown_twice() -> None:
    assert "values" not in str(initdsl.plan(layers(), "Linear.weight = 10; Linear.bias = 1e-3"))


def test_a_tensor_under_many_names_is_one_tie() -> None:
    report = initdsl.apply(layers(), "tie net[0] net[1] net[2] net[3]; Linear.weight = 1; Linear.bias = 0")
    assert [line for line in str(report).split("\n") if line.startswith("tied:")] == [
        "tied: 0.weight = 1.weight = 2.weight = 3.weight",
        "tied: 0.bias = 1.bias = 2.bias = 3.bias",
    ]
    assert str(report).endswith("2 set (6 elements), 2 tied")
    assert report.to_dict()["ties"] == [list(names) for names in report.tied]


def test_warnings_stand_in_the_order_of_the_file() -> None:
    plan = initdsl.plan(layers(), "Conv2d.weight = 0\nConv1d.weight = 0\nLinear.* = 0")
    assert [warning.line for warning in plan.warnings] == [1, 2]


def test_a_plan_in_a_list_is_one_line() -> None:
    assert repr([initdsl.plan(layers(), "Linear.* = 0")]) == "[<Plan: 8 set (24 elements)>]"


def test_python_prints_what_the_command_line_does() -> None:
    net = layers(12)
    plan = initdsl.plan(net, "Linear.weight = 1; Linear.bias = 0")
    report = initdsl.apply(net, "Linear.weight = 1; Linear.bias = 0")
    assert str(report) == str(plan) == plan_text(plan)
    assert [line.split("  ")[0] for line in str(report).splitlines()[1:3]] == ["{0..11}.weight x12", "{0..11}.bias x12"]


def test_values_in_a_list_are_short_lines() -> None:
    rules = initdsl.parse("Linear.weight = 1; Linear.bias = 0")
    plan = initdsl.plan(layers(2), rules)
    shown = [repr(rules), repr(plan.entries[0]), repr(plan.explain("0.weight"))]
    assert shown == [
        "<RuleSet: 2 statements of <rules>>",
        "<PlanEntry: net[0].weight [2, 2] = 1>",
        "<Explanation: net[0].weight, 1 rule>",
    ]
    inferred = initdsl.infer(lambda: layers(1), samples=3)
    assert repr(inferred).startswith("<Inferred: ")
    assert "\n" not in repr(inferred)
    made = initdsl.load(next(iter(packaged_recipes().values())))
    assert len(repr(made)) < 200


def test_a_long_name_has_a_line_of_its_own() -> None:
    net = nn.ModuleDict({"a" * 70: nn.Linear(2, 3), "short": nn.Linear(2, 3)})
    lines = str(initdsl.plan(net, "Linear.weight = 1; Linear.bias = 0")).splitlines()
    assert lines[1] == "a" * 70 + ".weight"
    shapes = {
        line.index(shape)
        for line, shape in zip([lines[0], lines[2], *lines[5:7]], ["shape", "3x2", "3x2", "3  "], strict=True)
    }
    assert len(shapes) == 1
