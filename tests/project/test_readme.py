"""README.md: its first screen, its pictures, the commands that set things up, and the page that a package index shows."""

from __future__ import annotations

import re

import pytest

from tests.support.code import script
from tests.support.pages import ROOT, blocks_of

README = (ROOT / "README.md").read_text("utf-8")


def test_the_first_sentence_says_what_it_is() -> None:
    first = README.split("\n\n")[1].split(".")[0]
    assert "PyTorch" in first
    assert len(first.split()) < 20


def test_the_first_rule_file_has_six_lines_and_stands_for_twenty_of_python() -> None:
    rules = next(block for block in blocks_of(README) if block.options.get("file") == "model.init")
    by_hand = next(block for block in blocks_of(README) if block.text.startswith("def init_weights"))
    assert len(rules.text.splitlines()) == 6
    assert len(by_hand.text.splitlines()) >= 20


@pytest.mark.parametrize("command", ["make demo", "make test", 'pip install ".[torch]"'])
def test_the_commands_that_set_things_up_are_there(command: str) -> None:
    assert f"$ {command}" in README


def test_nothing_says_to_install_by_a_name_that_nobody_has_registered() -> None:
    """Until the name is ours on the package index, it would be a stranger's package."""
    pages = [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / "editors").rglob("*.*"),
    ]
    for page in pages:
        if page.suffix in (".md", ".yml", ".json") and "node_modules" not in page.parts:
            found = re.findall(
                r"(?:pip|pipx|uvx?(?: pip)?|poetry) (?:install|add) (?:-\S+ )*[\"']?initdsl\b(?!-)",
                page.read_text("utf-8"),
            )
            assert not found, f"{page.relative_to(ROOT)}: {found}"


def test_the_picture_has_words_for_those_who_do_not_see_it() -> None:
    assert all(len(text) > 40 for text in re.findall(r'<img alt="([^"]*)"', README))
    assert README.count("<img ") == README.count('<img alt="')


@pytest.mark.parametrize("repository", [None, "https://example.org/initdsl"])
def test_a_package_index_shows_no_link_into_nowhere(repository: str | None) -> None:
    shown = script("hatch_build.py").long_description(README, repository, "v1")
    outside = re.sub(r"^```.*?^```$", "", shown, flags=re.MULTILINE | re.DOTALL)
    links = re.findall(r"\]\(([^)]+)\)", outside) + re.findall(r'src(?:set)?="([^"]+)"', outside)
    assert bool(links) == bool(repository)
    assert all(link.startswith(f"{repository}/") for link in links)
    assert "<!--" not in shown
    # code is as it was, and so are words
    assert [block.text for block in blocks_of(shown)] == [block.text for block in blocks_of(README)]
    assert "the tour" in shown.lower()
