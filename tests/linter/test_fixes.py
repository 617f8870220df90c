"""What lints write fixes with: `let`s declared, statements deleted, names that are free, numbers as they are written."""

from __future__ import annotations

import pytest

from initdsl.language.rules.ruleset import RuleSet
from initdsl.language.syntax.nodes import Assign
from initdsl.language.syntax.parse import parse_source
from initdsl.linter.file import File, file_of
from initdsl.linter.fixes import applied, declaration, insertion, removal, replacement
from initdsl.linter.lets import unused_name
from initdsl.linter.values import literal_number, literals
from initdsl.text.diagnostic import Fix
from initdsl.text.source import Source, Span


def file(text: str) -> File:
    source = Source("a.init", text)
    rules, problems = parse_source(source)
    assert problems == []
    return file_of(source, RuleSet(rules=tuple(rules), sources={source.name: text}))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Linear.bias = 2", "let a = 2\nLinear.bias = 2"),
        ("# first\r\nLinear.bias = 2", "# first\r\nlet a = 2\r\nLinear.bias = 2"),
        ("Conv2d {\n  .weight = 1\n  Linear {\n    .bias = 2\n  }\n}", None),
        ("Linear.weight = 1; Linear.bias = 2", "Linear.weight = 1; let a = 2; Linear.bias = 2"),
    ],
)
def test_a_let_is_declared_above_a_statement_and_its_blocks(text: str, expected: str | None) -> None:
    whole = file(text)
    fix = Fix("name it", (declaration(whole.statements[-1], "a", "2"),))
    assert applied(text, [fix])[0] == (expected or f"let a = 2\n{text}")


def test_several_fixes_that_touch_are_made_one_by_one() -> None:
    text = "Linear.bias = 0; Linear.weight = 1"
    first = Fix("first", (removal(Source("a", text), Span(0, 15)),))
    second = replacement(Span(15, 17), "\n", "second", safe=True)
    third = Fix("third", (insertion(len(text), "  # last"),))
    assert applied(text, [third, second, first]) == ("Linear.weight = 1  # last", [first, third])


def test_an_unused_name_means_nothing_anywhere_in_the_file() -> None:
    whole = file("let std = 1\nLinear.weight ~ normal(0, std * std_2)\nConv2d(bias=mean).weight[i] = 1")
    names = [unused_name(whole, stem) for stem in ("std", "mean", "i", "sqrt", "scale")]
    assert names == ["std_3", "mean_2", "i_2", "sqrt_2", "scale"]


def test_numbers_are_read_with_their_sign() -> None:
    (placed,) = file("Linear.weight ~ normal(-0.04, 1e-3 - 2) * -x + +3").statements
    assert isinstance(placed.rule, Assign)
    assert [(value, type(node).__name__) for node, value in literals(placed.rule.value)] == [
        (-0.04, "Unary"),
        (1e-3, "Number"),
        (2, "Number"),
        (3, "Unary"),
    ]
    assert literal_number(placed.rule.value) is None
