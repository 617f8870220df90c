"""What is proposed while expectations, suppressions, indices and arguments are typed; hover in expressions; fixes of slips."""

from __future__ import annotations

from pathlib import Path

import pytest

from initdsl.initializers import default_registry
from initdsl.language.expressions.functions import FANS, FUNCTIONS
from initdsl.language.syntax.grammar import words_of
from initdsl.linter import all_lints
from initdsl.server.findings import findings
from initdsl.server.hover import hover
from initdsl.server.known import Known
from initdsl.server.outline import outline
from initdsl.server.words import FUNCTION_TEXTS, description
from tests.server.test_server import labels, marked

MEASURES = ["mean", "std", "min", "max", "norm", "values", "shape"]


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("expect net |", [*MEASURES, "covered", "finite"]),
        ("expect Linear.weight, net.head.weight |", [*MEASURES, "covered", "finite"]),
        ("expect net c|", ["covered"]),
        ("Linear {\n  expect .weight st|", ["std"]),
        ("expect Linear.weight std |", ["in"]),
        ("expect ti|", ["tied"]),
        ("Linear.weight ~ kaiming_normal(mode=|", ["fan_in", "fan_out"]),
        ("Linear.weight ~ variance_scaling(mode=|", ["fan_in", "fan_out", "fan_avg", "fan_geo_avg"]),
        ("let how = fan_out\nLinear.weight ~ kaiming_normal(mode=|", ["fan_in", "fan_out", "how"]),
        ("Linear.weight ~ xavier_normal(calculate_gain(leak|", ["leaky_relu"]),
        ("Linear.weight = resize_grid(it, mode=b|", ["bicubic", "bilinear"]),
        ('net.head = load("x.pt", missing=|', ["error", "skip"]),
        ('net.head = load("x.pt", |', ["key=", "prefix=", "map=", "names=", "missing=", "mismatch="]),
        ("Embedding.weight[|", ["num_embeddings", "embedding_dim", "padding_idx"]),
        ("net.embed.weight[pad|", ["padding_idx"]),
        ("Embedding {\n  .weight[pad|", ["padding_idx"]),
        ("Linear.weight ~ normal(0, 1 / in_f|", ["in_features"]),
        ("net.blocks[i].up.weight, net.head.weight ~ normal(0, out_f|", ["out_features"]),
        ("Linear.bias = 0  # initdsl: |", ["ignore[", "ignore-file["]),
        ("Linear.bias = 0  # initdsl: ignore[zero-s|", ["zero-std"]),
        ("# initdsl: ignore-file[shadowed-r|", ["shadowed-rule"]),
        ("Linear.bias = (0  # initdsl: ignore[zero-s|", ["zero-std"]),
    ],
)
def test_what_comes_first(text: str, first: list[str], known: Known) -> None:
    assert labels(text, known)[: len(first)] == first


@pytest.mark.parametrize(
    "text",
    ["Embedding.weight[|", "Linear.weight[0, |", "net.blocks[|", "Linear.weight ~ xavier_normal(calculate_gain(|"],
)
def test_no_initializer_is_proposed_where_none_can_stand(text: str, known: Known) -> None:
    assert not {*default_registry()} & {*labels(text, known)}


def test_a_suppression_names_lints_it_does_not_name_yet(known: Known) -> None:
    names = list(all_lints())
    assert labels("# initdsl: ignore[|", known) == names
    assert labels(f"# initdsl: ignore[{names[0]}, |", known) == names[1:]
    assert labels("# of something else: ignore[|", known) == []
    assert labels('net["# initdsl: ignore[|"]', known) == []


def test_every_word_of_an_expectation_is_proposed(known: Known) -> None:
    assert [*words_of("MEASURE"), *words_of("STATE")] == labels("expect net |", known)[:9]
    assert {*words_of("TIED")} <= {*labels("expect |", known)}


# ---- hover


def test_every_function_is_said() -> None:
    assert {*FUNCTION_TEXTS} == {*FUNCTIONS, *FANS, "len", "load"}


@pytest.mark.parametrize("name", FUNCTION_TEXTS)
def test_hover_shows_functions(name: str, known: Known) -> None:
    found = hover(outline(f"Linear.weight = {name}(1)"), 16, known)
    assert found is not None
    assert FUNCTION_TEXTS[name][0].startswith(name)
    assert FUNCTION_TEXTS[name][1] in found[1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Linear.weight ~ normal(0, 1 / |fan_in)", description("fan_in")),
        ("Linear.weight *= |shape[0]", description("shape")),
        ("Linear.bias = 1 / |in_features", "- 4, of 3 modules"),
        ("net.head { .weight = 1 / |out_features }", "- 10"),
        ("expect net |covered", description("covered")),
    ],
)
def test_hover_in_expressions(text: str, said: str, known: Known) -> None:
    plain, at = marked(text)
    found = hover(outline(plain), at, known)
    assert found is not None
    assert said in found[1]


@pytest.mark.parametrize(
    "text",
    ["Linear.weight ~ kaiming_normal(mode=|fan_out)", "Linear.weight = |nothing", "Lineer.weight = |in_features"],
)
def test_hover_says_nothing_of_what_is_none(text: str, known: Known) -> None:
    plain, at = marked(text)
    assert hover(outline(plain), at, known) is None


# ---- fixes


@pytest.mark.parametrize(
    ("text", "fixed"),
    [
        ("net.haed.weight = 0", "net.head.weight = 0"),
        ("net.head.wieght = 0", "net.head.weight = 0"),
        ("Linaer.weight = 0", "Linear.weight = 0"),
        ("nn.Linaer.weight = 0", "nn.Linear.weight = 0"),
        ("Linear.weight ~ normal(0, in_feature)", "Linear.weight ~ normal(0, in_features)"),
        ("let std = 1\nLinear.weight ~ normal(0, sdt)", "let std = 1\nLinear.weight ~ normal(0, std)"),
        ("Linear.weight ~ kaiming_normal(mode=fanin)", "Linear.weight ~ kaiming_normal(mode=fan_in)"),
        ("Linear.weight ~ xavier_normal(gain(relu))", "Linear.weight ~ xavier_normal(calculate_gain(relu))"),
    ],
)
def test_a_slip_has_a_fix(text: str, fixed: str, folder: Path, known: Known) -> None:
    fixes = [found.fix for found in findings(str(folder / "x.init"), text, known) if found.fix is not None]
    edits = [edit for fix in fixes for edit in fix.edits]
    assert fixed in [f"{text[: edit.span.start]}{edit.text}{text[edit.span.end :]}" for edit in edits]


@pytest.mark.parametrize("text", ["Linear(out_featurs=4).weight = 0", "Linear.weight ~ silu()", "net.head ~ normal()"])
def test_what_is_no_slip_has_none(text: str, folder: Path, known: Known) -> None:
    assert [
        f.fix for f in findings(str(folder / "x.init"), text, known) if f.fix and f.name != "uncovered-parameter"
    ] == []
