"""Rule sets that were edited as JSON, or made of nodes: plans, errors and warnings show what the statements say now."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from torch import nn

import initdsl
from initdsl.language.syntax.nodes import Use

TEXT = "Linear.weight ~ normal(0, 0.02)\nLinear.bias = 0\n"


def changed(rules: initdsl.RuleSet, rule: int, value: Any) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(rules.model_dump_json())
    data["rules"][rule]["value"] = {"kind": "number", "value": value}
    return data


@pytest.mark.parametrize("as_text", [False, True])
def test_a_plan_shows_what_an_edited_statement_says(as_text: bool) -> None:
    data = changed(initdsl.parse(TEXT), 1, 5)
    read = initdsl.RuleSet.model_validate
    rules = initdsl.RuleSet.model_validate_json(json.dumps(data)) if as_text else read(data)
    lines = str(initdsl.plan(nn.Linear(2, 2), rules)).splitlines()
    assert lines[1].split()[-4:] == ["~", "normal(0,", "0.02)", "<rules>:1"]
    assert lines[2].split()[-3:] == ["=", "5", "<edited>:1"]
    again = initdsl.RuleSet.model_validate_json(rules.model_dump_json())
    assert (again, again.sources) == (rules, rules.sources)


def test_an_error_shows_it_too() -> None:
    rules = initdsl.RuleSet.model_validate(changed(initdsl.parse(TEXT), 1, 5) | {"sources": {}})
    with pytest.raises(initdsl.ResolveError) as caught:
        initdsl.apply(nn.LayerNorm(3), rules, strict=True)
    assert "Linear.bias = 5" in str(caught.value)


def test_edited_twice() -> None:
    once = initdsl.RuleSet.model_validate(changed(initdsl.parse(TEXT), 1, 5))
    twice = initdsl.RuleSet.model_validate(changed(once, 1, 7))
    plan = initdsl.plan(nn.Linear(2, 2), twice)
    assert [entry.effect for entry in plan.entries] == ["~ normal(0, 0.02)", "= 7"]
    assert [rule.source for rule in twice.rules] == ["<rules>", "<edited 2>"]


def test_statements_made_in_python_have_a_text() -> None:
    rules = initdsl.RuleSet(rules=initdsl.parse(TEXT).rules)
    assert rules.sources == {"<edited>": TEXT.strip()}
    assert [entry.effect for entry in initdsl.plan(nn.Linear(2, 2), rules).entries] == ["~ normal(0, 0.02)", "= 0"]


def test_used_files(tmp_path: Path) -> None:
    (tmp_path / "base.init").write_text("Linear.weight = 1\nLinear.bias = 2\n")
    (tmp_path / "main.init").write_text('use "base.init"\nLinear.bias = 3\n')
    data = json.loads(initdsl.load(tmp_path / "main.init").model_dump_json())
    data["rules"][0]["rules"][0]["value"]["value"] = 8
    rules = initdsl.RuleSet.model_validate(data)
    used = rules.rules[0]
    assert isinstance(used, Use)
    assert [rule.source.rpartition("/")[2] for rule in used.rules or ()] == ["<edited>", "base.init"]
    assert [entry.effect for entry in initdsl.plan(nn.Linear(2, 2), rules).entries] == ["= 8", "= 3"]


def test_what_was_not_edited_stays() -> None:
    rules = initdsl.parse(TEXT)
    again = initdsl.RuleSet.model_validate_json(rules.model_dump_json())
    assert again.sources == rules.sources
    assert [rule.span for rule in again.rules] == [rule.span for rule in rules.rules]
