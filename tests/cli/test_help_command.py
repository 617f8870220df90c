"""`initdsl help`: every topic prints its page, and only that; what is no topic is an error with the nearest one."""

from __future__ import annotations

import pytest

from initdsl.cli import COMMANDS
from initdsl.cli.help import PAGES, topics
from initdsl.initializers import default_registry
from initdsl.language.syntax.grammar import statement_words
from tests.support.command import run
from tests.support.pages import ROOT


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "110")
    monkeypatch.setenv("NO_COLOR", "1")


def test_without_a_topic_all_are_listed() -> None:
    said = run("help").stdout.replace("\n", " ")
    for topic in ("cheatsheet", "tour", "glossary", "selectors", "idioms", "overridden", "random state"):
        assert topic in said


@pytest.mark.parametrize("topic", sorted(topics()))
def test_every_topic_prints(topic: str) -> None:
    done = run(f'help "{topic}"')
    assert done.exit_code == 0
    assert "<!--" not in done.stdout
    assert "](" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 110


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_a_command_prints_its_help(name: str) -> None:
    said = run(f"help {name}").stdout
    assert said.endswith(run(f"{name} --help").stdout.replace("Usage: group", "Usage: initdsl", 1))
    assert said.startswith("Usage") or name in topics()


def test_a_part_is_that_part() -> None:
    said = run("help selectors").stdout
    assert "net.layers[0].norm.weight" in said
    assert "kaiming" not in said
    assert "overridden" in run("help OVERRIDDEN").stdout


@pytest.mark.parametrize(
    ("word", "row", "idiom"),
    [
        ("keep", "leave as it is", "keep *.*(!requires_grad)"),
        ("load", "a tensor of a file", 'net = load("pretrained.safetensors", mismatch=skip)'),
        ("orthogonal", "whole matrices", "LSTM.weight_hh_*"),
        ("eye", "the identity", ""),
    ],
)
def test_a_word_of_the_language_has_its_forms_and_idioms(word: str, row: str, idiom: str) -> None:
    said = run(f"help {word}").stdout
    assert row in said
    assert idiom in said
    assert "Attention.qkv" not in said
    assert f" {word}," in run("help").stdout.replace("\n", " ")


@pytest.mark.parametrize(
    ("word", "other"), [("keep", "default S"), ("default", "keep S"), ("tie", "copy A"), ("copy", "tie A")]
)
def test_a_statement_has_a_row_of_its_own(word: str, other: str) -> None:
    said = run(f"help {word}").stdout
    assert f"{word} " in said
    assert other not in said


@pytest.mark.parametrize(
    ("word", "row", "section"),
    [
        ("ndim", "tensors that meet conditions", "selectors"),
        ("in", "union; inside; outside", "selectors"),
        ("NET", "net is the model", "selectors"),
        ("ignore", "# initdsl: ignore[NAME] reason", "statements"),
        ("'**'", "any depth", "selectors"),
        ("'[*]'", "each row as a tensor", "slices"),
        ("as", "of another shape", "slices"),
        ("not", "outside", "selectors"),
        ("requires_grad", "tensors that meet conditions", "selectors"),
        ("'?'", "may select nothing", "selectors"),
        ("'*='", "change what is there", "statements"),
    ],
)
def test_a_word_or_sign_of_a_rule_file_has_its_rows(word: str, row: str, section: str) -> None:
    said = run(f"help {word}").stdout
    assert row in " ".join(said.split())
    assert f"initdsl help {section}" in said
    assert "orthogonal(gain" not in said


def test_a_block_is_a_word_of_the_glossary() -> None:
    assert "rules in braces" in run("help block").stdout


@pytest.mark.parametrize("word", sorted(statement_words()))
def test_every_word_that_begins_a_statement_is_a_topic(word: str) -> None:
    assert f"{word} " in run(f"help {word}").stdout


@pytest.mark.parametrize(
    ("topic", "hint"), [("plann", "plan"), ("selektors", "selectors"), ("xyzzy", "lists the topics")]
)
def test_what_is_no_topic_is_an_error(topic: str, hint: str) -> None:
    done = run(f"help {topic}")
    assert done.exit_code == 2
    assert f"there is no help on `{topic}`" in done.stderr
    assert hint in done.stderr
    assert done.stdout == ""


def test_the_cheat_sheet_has_every_statement_and_no_unknown_initializer() -> None:
    sheet = topics()["cheatsheet"]
    for word in statement_words():
        assert f"{word} " in sheet, word
    for name in (
        "normal",
        "uniform",
        "trunc_normal_sd",
        "kaiming_normal",
        "xavier_uniform",
        "orthogonal",
        "sparse",
        "eye",
    ):
        assert f"{name}(" in sheet
        assert name in default_registry()


def test_the_cheat_sheet_fits_a_page() -> None:
    assert len((ROOT / "docs" / "cheatsheet.md").read_text("utf-8").splitlines()) < 170


def test_the_wheel_takes_the_pages_with_it() -> None:
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    for name in PAGES:
        assert f'"docs/{name}.md" = "initdsl/pages/{name}.md"' in project
