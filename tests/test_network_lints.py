"""Lints that look at a plan: each by its own documentation, on the network that it names."""

import re

import pytest
import torch
from torch import nn

import initdsl
from initdsl.linter import all_lints, lint_source
from initdsl.linter.network import against
from initdsl.network import Network, describe
from initdsl.rules import RuleSet
from initdsl.source import Source
from initdsl.syntax import parse_source

NETWORK_LINTS = [name for name, one in all_lints().items() if one.needs in ("network", "resolver")]


def build(doc: str) -> nn.Module:
    code = re.search(r"```python\n(.*?)```", doc, re.DOTALL)
    assert code is not None
    scope = {"nn": nn, "torch": torch}
    exec(code[1], scope)
    return scope["net"]


def findings(text: str, net: nn.Module | Network) -> list[str]:
    source = Source("x.init", text)
    rules, problems = parse_source(source)
    whole = RuleSet(rules=tuple(rules), sources={source.name: text})
    found = lint_source(source, whole, problems, network=against(net))
    return [one.name for one in found]


@pytest.mark.parametrize("name", NETWORK_LINTS)
def test_the_examples_of_its_documentation(name: str) -> None:
    one = all_lints()[name]
    net = build(one.doc)
    assert findings(one.example("Example"), net) == [name]
    assert findings(one.example("Use instead"), net) == []


@pytest.mark.parametrize("name", NETWORK_LINTS)
def test_a_manifest_gives_the_same_findings(name: str) -> None:
    one = all_lints()[name]
    net = build(one.doc)
    described = Network.from_manifest(describe(net)[0].to_manifest())
    assert findings(one.example("Example"), described) == findings(one.example("Example"), net)


def test_there_are_the_promised_ones() -> None:
    promised = {
        "uncovered-parameter", "tied-conflict", "padding-row-overwritten", "fused-matrix", "depthwise-fan", "zeroed-norm",
        "identical-layers", "vanishing-signal", "exploding-signal",
    }  # fmt: skip
    assert promised <= set(NETWORK_LINTS)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Linear.wieght = 1\nkeep net", "unmatched-selector"),
        ("LSTM.weight_ih_l0 = 1\nkeep net", "unmatched-selector"),
        ("Linear.bias ~ xavier_uniform()\nkeep Linear.weight", "undefined-fan"),
        ("tie net[0] net[1]", "tie-mismatch"),
    ],
)
def test_findings_of_the_resolver(text: str, name: str) -> None:
    assert name in findings(text, nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2)))


def test_the_function_takes_a_network(tmp_path) -> None:
    file = tmp_path / "a.init"
    file.write_text("Linear.weight ~ xavier_uniform()\n")
    net = nn.Sequential(nn.Linear(4, 8))
    assert [one.name for one in initdsl.lint(file, net)] == ["uncovered-parameter"]
    assert initdsl.lint(file) == []


def test_a_suppression_is_not_unused_where_no_network_was_given() -> None:
    source = Source(
        "x.init", "Linear.weight ~ normal(0, 0.02)  # initdsl: ignore[uncovered-parameter] the rest is meant\n"
    )
    rules, problems = parse_source(source)
    assert lint_source(source, rules, problems) == []
