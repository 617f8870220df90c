"""Nodes written out as text: read back, they are the same."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from initdsl.language.syntax.parse import parse_source
from initdsl.language.syntax.written import written
from initdsl.text.source import Source

ROOT = Path(__file__).parents[2]


def texts() -> list[str]:
    """Every rule file that there is: of the specification, the recipes and the examples."""
    found = [
        path.read_text("utf-8") for path in [*ROOT.glob("initdsl/recipes/*.init"), *ROOT.glob("examples/**/*.init")]
    ]
    for path in sorted((ROOT / "tests" / "cases" / "conformance").glob("[0-9]*.toml")):
        cases = tomllib.loads(path.read_text("utf-8"))
        found += [case["rules"] for case in next(iter(cases.values())) if "rules" in case]
    return found


def test_what_is_written_reads_back_to_the_same() -> None:
    count = 0
    for text in texts():
        rules, problems = parse_source(Source("rules.init", text))
        if problems:
            continue
        for rule in rules:
            again, problems = parse_source(Source("again.init", written(rule)))
            assert (tuple(again), problems) == ((rule,), []), written(rule)
            count += 1
    assert count > 1000


@pytest.mark.parametrize(
    "text",
    [
        "net.a = -(1 + 2) * -x ** -2",
        "net.a = 1 - 2 - (3 - 4)",
        "net.a = (2 ** 3) ** 2",
        "net.a = not (a and b) or c and (d or e)",
        "net.a = (a < b) == (c < d)",
        'net.a = load("a\\"\\\\\\n.pt", map={"x": "y"}, names=[1, (2,), []])',
        "net.a as (3, -1)[*, -2:, ..., ::2] ~ normal(std=1e-08)",
        "(net.a, net.b) in net.c ~ normal()",
        "net.a, Linear+(in_features<3, !bias, stride=(2, 2)).weight? = 0",
        "Linear { .weight = 1; .b not in .c { .d += it } }",
        "tie (net.a, net.b) net.c?",
        "expect net.** values in [-1, 1.5]",
        "expect tied net.a net.b",
        "/a\\/b$/ not in /c/ *= 2",
    ],
)
def test_what_is_written_is_as_one_writes_it(text: str) -> None:
    rules, problems = parse_source(Source("rules.init", text))
    assert problems == []
    assert written(rules[0]) == text
