"""The page of a diff, in a browser: before and after in the tree of the model, and the rule files side by side."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from torch import nn

import initdsl
from tests.support.browser import CHROMIUM, Browser

OLD = "Linear.weight ~ normal(0, 0.02)\nLinear.bias = 0\n"
NEW = "let n = 12\nLinear.weight ~ normal(0, 0.02)\nnet.layers[*].down.weight ~ normal(0, 0.02 / sqrt(2 * n))\nnet.head.weight = 0\n"


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(4, 8), nn.Linear(8, 4)


class Model(nn.Module):
    def __init__(self, extra: bool = False) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Block() for _ in range(12))
        self.head = nn.Linear(4, 2, bias=False)
        if extra:
            self.gone = nn.Linear(2, 2)


def diff() -> initdsl.Diff:
    return initdsl.diff(initdsl.plan(Model(extra=True), OLD), initdsl.plan(Model(), NEW))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pages") / "diff.html"
    diff().save(path)
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no Chromium")
    tab = Browser()
    yield tab
    tab.close()


def rows(browser: Browser) -> list[str]:
    found: list[str] = browser.run(
        "[...document.querySelectorAll('.row.leaf')].map((row) => row.innerText.replace(/\\s+/g, ' '))"
    )
    return found


def test_other_forms_are_saved_by_their_suffix(tmp_path: Path) -> None:
    for name, said in (("d.json", '"format": "initdsl-diff"'), ("d.txt", "drawn otherwise:")):
        diff().save(tmp_path / name)
        assert said in (tmp_path / name).read_text("utf-8")
    with pytest.raises(ValueError, match="ends in none of"):
        diff().save(tmp_path / "d.pdf")


def test_it_loads_nothing_and_complains_of_nothing(browser: Browser, saved: Path) -> None:
    for options in ({}, {"dark": True}, {"width": 380, "height": 760}):
        browser.open(saved, **options)
        assert browser.errors == []
        assert browser.requests == [saved.resolve().as_uri()]
        assert browser.run("document.documentElement.scrollWidth <= innerWidth")


def test_a_row_shows_before_and_after(browser: Browser, saved: Path) -> None:
    browser.open(saved)
    found = rows(browser)
    down = next(row for row in found if "drawn otherwise" in row and "×12" in row)
    assert "normal(0, 0.02) <rules>:1" in down
    assert "normal(0, 0.00408248) <rules>:3" in down
    assert "x0.204" in down
    assert any(
        "no longer covered 24" in chip
        for chip in browser.run("[...document.querySelectorAll('.chip')].map((c) => c.innerText)")
    )
    assert any(row.startswith(".gone.weight") and "gone" in row.split() for row in found)


def test_kinds_of_change_are_filters(browser: Browser, saved: Path) -> None:
    browser.open(saved)
    browser.run("document.querySelector('#filters input[value=gone]').click()")
    assert len(rows(browser)) == 2
    assert all("gone" in row.split() for row in rows(browser))


def test_rules_are_a_click_away_on_both_sides(browser: Browser, saved: Path) -> None:
    browser.open(saved)
    assert browser.run("[...document.querySelectorAll('.row a')].every((a) => document.querySelector(a.hash))")
    assert browser.run("[...document.querySelectorAll('.source tr.gone code')].map((c) => c.innerText)") == [
        "Linear.bias = 0"
    ]
    assert len(browser.run("[...document.querySelectorAll('.source tr.new')].map((c) => 1)")) == 3


def test_hostile_names_are_only_names(browser: Browser, tmp_path: Path) -> None:
    odd = nn.ModuleDict({"</script><script>alert(1)</script>": nn.Linear(2, 2), "<img src=x>": nn.Linear(2, 2)})
    plans = (initdsl.plan(odd, ""), initdsl.plan(odd, "# </script><b>\nLinear.weight = 0"))
    initdsl.diff(*plans).save(tmp_path / "odd.html")
    browser.open(tmp_path / "odd.html")
    assert browser.errors == []
    assert len(browser.requests) == 1
    assert any("<img src=x>" in row for row in rows(browser)) or browser.run(
        "document.body.innerText.includes('<img src=x>')"
    )
    assert browser.run("document.querySelectorAll('main img, main b, main script').length") == 0


def test_several_rule_files_are_one_page(browser: Browser, tmp_path: Path) -> None:
    from initdsl.api.diff import diffs_page

    (tmp_path / "many.html").write_text(diffs_page({"a.init": diff(), "b.init": diff()}), "utf-8")
    browser.open(tmp_path / "many.html")
    assert browser.errors == []
    names = browser.run("[...document.querySelectorAll('.row.module .name')].map((n) => n.firstChild.textContent)")
    assert {"a.init", "b.init"} <= set(names)
    assert browser.run(
        "new Set([...document.querySelectorAll('[id]')].map((e) => e.id)).size === document.querySelectorAll('[id]').length"
    )
