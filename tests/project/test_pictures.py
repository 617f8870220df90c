"""The pictures of the pages: terminals, an editor and a report, each what its command says now."""

from __future__ import annotations

import re
import sys
from types import ModuleType

import pytest

from tests.support.code import ROOT, script

NOT_CURRENT = "run `python docs/gallery.py`"


@pytest.fixture(scope="module")
def gallery() -> ModuleType:
    pytest.importorskip("pygments")
    before = list(sys.path)
    module = script("docs/gallery.py")
    sys.path[:] = before
    return module


@pytest.mark.parametrize("name", ["plan", "diagnose", "verify"])
def test_terminals_are_what_the_commands_say_now(gallery: ModuleType, name: str) -> None:
    said = re.sub(r"\x1b\[[\d;]*m", "", gallery.terminal(name))
    wanted = [line.rstrip() for line in said.splitlines() if line.strip()]
    page = (ROOT / gallery.TERMINALS[name][0]).read_text("utf-8")
    for theme in gallery.TERMINAL:
        picture = gallery.place_of(name, theme).read_text("utf-8")
        shown = [line for line in gallery.words_of(picture).splitlines() if line.strip()]
        assert shown == wanted, NOT_CURRENT
        assert f"gallery/{name}-{theme}.svg" in page
        assert not re.findall(r"(?:href|src|url\()\W*https?:", picture)


def test_every_terminal_is_looked_at(gallery: ModuleType) -> None:
    assert list(gallery.TERMINALS) == ["plan", "diagnose", "verify"]


def test_the_editor_is_what_the_server_says_now(gallery: ModuleType) -> None:
    seen = gallery.seen_in_an_editor(gallery.mistaken())
    assert len(seen.findings) == 2
    assert len(seen.counts) > 3
    page = (ROOT / "docs" / "editors.md").read_text("utf-8")
    for theme in gallery.TERMINAL:
        assert gallery.place_of("editor", theme).read_text("utf-8") == gallery.editor.picture(seen, theme), NOT_CURRENT
        assert f"gallery/editor-{theme}.svg" in page


def test_the_report_is_what_the_page_shows_now(gallery: ModuleType) -> None:
    image = pytest.importorskip("PIL.Image")
    page = (ROOT / "docs" / "reports.md").read_text("utf-8")
    wanted = gallery.mark(gallery.report())
    for theme in gallery.TERMINAL:
        place = gallery.place_of("report", theme).with_suffix(".png")
        assert image.open(place).text["page"] == wanted, NOT_CURRENT
        assert f"gallery/{place.name}" in page


def test_the_extension_was_photographed_with_what_the_server_says_now() -> None:
    image = pytest.importorskip("PIL.Image")
    pytest.importorskip("pygments")
    film = script("docs/film.py")
    readme = (ROOT / "editors" / "vscode" / "README.md").read_text("utf-8")
    for place, said in film.shown_in().items():
        shown = image.open(place)
        noted = shown.text["said"] if place.suffix == ".png" else shown.info["comment"].decode()
        assert noted == said, "run `python docs/film.py`, which says what it needs"
        assert said
        assert f"images/{place.name}" in readme
        assert place.stat().st_size < 1_000_000
    assert image.open(film.FILM).n_frames > 10


def test_a_report_that_looks_different_is_noticed(gallery: ModuleType) -> None:
    page = gallery.report()
    assert gallery.mark(page) == gallery.mark(re.sub(r"\(native[^<]*\)\.</p>", "(torch).</p>", page))
    assert gallery.mark(page) != gallery.mark(page.replace("Parameters</h2>", "Tensors</h2>"))
