"""The site as `make site` has built it, looked at by a real browser. `INITDSL_SITE` says where it is."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from initdsl.language.rules.loader import packaged_recipes
from initdsl.linter import all_lints
from tests.support.browser import CHROMIUM, Browser
from tests.support.pages import ROOT

DOCS = ROOT / "docs"
SITE = Path(os.environ.get("INITDSL_SITE", ""))

pytestmark = pytest.mark.skipif(
    "INITDSL_SITE" not in os.environ, reason="`make site` builds the site and sets INITDSL_SITE"
)

PAGES = sorted(page.stem for page in DOCS.glob("*.md"))


class Read(HTMLParser):
    """The links, anchors, comments and text of a page."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.comments: list[str] = []
        self.words = ""
        self.feed(page.read_text("utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            if name == "id" and value:
                self.anchors.add(value)
            if name in ("href", "src") and value:
                self.links.append(value)

    def handle_comment(self, data: str) -> None:
        self.comments.append(data.strip())

    def handle_data(self, data: str) -> None:
        self.words += data


@pytest.fixture(scope="module")
def read() -> dict[Path, Read]:
    return {page.resolve(): Read(page) for page in SITE.rglob("*.html")}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("there is no chromium")
    browser = Browser()
    yield browser
    browser.close()


def test_every_page_is_there() -> None:
    assert len(PAGES) > 20
    for name in PAGES:
        assert (SITE / f"{name}.html").exists(), name


def test_every_link_leads_somewhere(read: dict[Path, Read]) -> None:
    seen = 0
    for page, content in read.items():
        for link in content.links:
            parts = urlsplit(link)
            if parts.scheme or link.startswith("//") or link == "#":
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            assert target.exists(), f"{page.name}: {link}"
            if parts.fragment and target.suffix == ".html":
                assert unquote(parts.fragment) in read[target].anchors, f"{page.name}: {link}"
            seen += 1
    assert seen > 1000


def test_nothing_comes_from_elsewhere(read: dict[Path, Read]) -> None:
    """Fonts, scripts and styles are the site's own; a link to elsewhere is a reader's own step."""
    for page in read:
        text = page.read_text("utf-8")
        assert not re.search(r"<(?:script|img|iframe)[^>]+src=[\"'](?:https?:)?//", text), page.name
        assert not re.search(r"<link[^>]+stylesheet[^>]+href=[\"'](?:https?:)?//", text), page.name


@pytest.mark.parametrize("name", ["index", "diagnose", "language"])
def test_a_link_to_a_page_has_a_preview(name: str) -> None:
    text = (SITE / f"{name}.html").read_text("utf-8")
    said = dict(re.findall(r'<meta (?:property|name)="([\w:]+)" content="([^"]*)"', text))
    assert said["og:title"] == re.findall(r"<h1>(.*?)<a", text)[0]
    assert 20 < len(said["og:description"]) < 210
    picture = said["og:image"].rpartition("_static/")[2]
    assert (SITE / "_static" / picture).read_bytes() == (DOCS / "_static" / "social.png").read_bytes()
    assert said["twitter:card"] == "summary_large_image"
    assert re.search(r'<link rel="(?:shortcut )?icon" href="_static/logo.svg', text)


def test_what_drives_the_tests_does_not_show(read: dict[Path, Read]) -> None:
    for page, content in read.items():
        assert not [one for one in content.comments if re.match(r"(file|net|set|lint|needs):", one)], page.name
        assert "<!-- file" not in content.words, page.name


def test_files_have_their_names_above_them(read: dict[Path, Read]) -> None:
    text = (SITE / "tutorial.html").read_text("utf-8")
    for name in re.findall(r"<!-- file: (\S+) -->", (DOCS / "tutorial.md").read_text("utf-8")):
        assert re.search(rf'code-block-caption"><span class="caption-text">{re.escape(name)}<', text), name


@pytest.mark.parametrize(("page", "names"), [("lints", list(all_lints())), ("recipe-files", list(packaged_recipes()))])
def test_generated_pages_have_a_section_for_each(page: str, names: list[str], read: dict[Path, Read]) -> None:
    anchors = read[(SITE / f"{page}.html").resolve()].anchors
    for name in names:
        assert name.replace("_", "-") in anchors or name in anchors, name


@pytest.mark.parametrize("name", PAGES)
def test_pages_load_without_complaint(name: str, browser: Browser) -> None:
    browser.open(SITE / f"{name}.html")
    assert browser.errors == []
    assert browser.run("document.querySelectorAll('.err').length") == 0
    browser.open(SITE / f"{name}.html", width=390, height=800)
    assert browser.run("document.documentElement.scrollWidth") <= 390, "a phone scrolls sideways"


def test_rule_files_are_coloured(browser: Browser) -> None:
    browser.open(SITE / "tutorial.html")
    first = "document.querySelector('.highlight-initdsl pre')"
    assert browser.run(f"{first}.innerText.trim()") == "Linear.weight ~ normal(0, 0.02)"
    shown = browser.run(f"[...{first}.querySelectorAll('span[class]')].map(e => e.className + ' ' + e.innerText)")
    assert {"nc Linear", "na weight", "o ~", "nf normal"} <= set(shown)
    colours = browser.run(f"[...{first}.querySelectorAll('.nc, .na, .nf, .m')].map(e => getComputedStyle(e).color)")
    assert len(set(colours)) >= 2


def test_every_rule_file_of_the_pages_is_coloured(browser: Browser) -> None:
    browser.open(SITE / "language.html")
    plain = browser.run(
        "[...document.querySelectorAll('.highlight-initdsl pre')].filter(e => !e.querySelector('span[class]')).length"
    )
    assert plain == 0
    assert browser.run("document.querySelectorAll('.highlight-initdsl pre').length") > 30


def test_dark_and_light_differ_and_can_be_read(browser: Browser) -> None:
    """The contrast of text and of coloured words against their background, by the formula of WCAG."""
    ratios = """(() => {
      const channel = (c) => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
      const light = (text) => { const [r, g, b] = text.match(/[\\d.]+/g).map(Number);
        return 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b); };
      const ground = (e) => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;
        if (!/, 0\\)$|transparent/.test(c)) return c; } return 'rgb(255, 255, 255)'; };
      return [...document.querySelectorAll('article p, article .highlight span[class]:not(.w)')].map((e) => {
        const [a, b] = [light(getComputedStyle(e).color), light(ground(e))].sort((x, y) => y - x);
        return [(a + 0.05) / (b + 0.05), e.className, e.innerText.slice(0, 20)]; }).sort((x, y) => x[0] - y[0]).slice(0, 3);
    })()"""
    grounds = []
    for dark in (False, True):
        browser.open(SITE / "tutorial.html", dark=dark)
        grounds.append(browser.run("getComputedStyle(document.body).backgroundColor"))
        worst = browser.run(ratios)
        assert worst[0][0] > 4.5, worst
    assert grounds[0] != grounds[1]


def test_search_finds(browser: Browser) -> None:
    browser.open(SITE / "search.html")
    browser.call("Page.navigate", url=f"{(SITE / 'search.html').resolve().as_uri()}?q=kaiming_normal")
    found = ""
    for _ in range(50):
        browser.run("new Promise((done) => setTimeout(done, 100))")
        found = browser.run("(document.querySelector('#search-results') || document.body).innerText")
        if "nitializers" in found:
            break
    assert "Initializers" in found
