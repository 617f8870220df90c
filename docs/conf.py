"""The site: `make site` builds it from the pages in this folder, which GitHub shows as they are.

Pages are plain Markdown, so what a site needs on top is added while they are read (`for_the_site`): the lists of
`index.md` are its navigation, the comments that set up the tests become captions, and what links lead to outside this
folder becomes a page too (`Repository`).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tomllib
from html import escape, unescape
from pathlib import Path
from typing import Any

from pygments.lexers import TextLexer

DOCS = Path(__file__).parent
ROOT = DOCS.parent
sys.path.insert(0, str(ROOT))

from initdsl import __version__  # noqa: E402
from initdsl.language.syntax.highlight import InitDSLLexer  # noqa: E402
from tests.support.pages import blocks_of  # noqa: E402

project = "initdsl"
release = version = __version__
html_title = f"initdsl {__version__}"
extensions = ["myst_parser", "sphinx_copybutton"]
exclude_patterns = ["_build", "generate.py"]
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_logo = html_favicon = "_static/logo.svg"
# where the site is; previews of links name their picture by it
html_baseurl = (
    tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"].get("urls", {}).get("Documentation", "")
)
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False
html_theme_options = {"navigation_with_keys": True}
highlight_language = "text"
myst_heading_anchors = 4
nitpicky = True
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)\s#:]+)(#[^)\s]*)?\)")
IMAGE = re.compile(r"(!\[[^\]]*\])\(([^)\s:]+)\)")
PICTURE = re.compile(
    r'<picture>.*?srcset="(?:docs/)?([^"]+)".*?alt="([^"]+)" src="(?:docs/)?([^"]+)".*?</picture>', re.DOTALL
)
COMMENT = re.compile(r"^ *<!-- .*? -->\n", re.MULTILINE)
ITEM = re.compile(r"^- \[([^\]]+)\]\(([^)\s]+)\)", re.MULTILINE)
LANGUAGES = {".py": "python", ".init": "initdsl", ".yml": "yaml", ".ipynb": "python"}


class Repository:
    """What pages link to outside this folder, as pages under `repository/`: Markdown, files, folders, notebooks."""

    folder = DOCS / "repository"

    def __init__(self) -> None:
        self.made: set[Path] = set()
        shutil.rmtree(self.folder, ignore_errors=True)

    def page(self, target: Path) -> Path:
        """The page of a file or folder of the repository, written when it is first asked for."""
        if target.suffix == ".md" and target.is_relative_to(DOCS):
            return target
        place = self.folder / target.relative_to(ROOT)
        if target.is_dir():
            place = place / "index.md"
        elif target.suffix != ".md":
            place = place.with_name(f"{place.name}.md")
        if place not in self.made:
            self.made.add(place)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(f"---\norphan: true\n---\n\n{self.text(target, place)}", "utf-8")
        return place

    def text(self, target: Path, place: Path) -> str:
        if target.suffix == ".md":
            return self.linked(for_the_site(target.read_text("utf-8")), target.parent, place.parent)
        title = f"# {target.relative_to(ROOT)}\n\n"
        if target.is_dir():
            names = sorted(p for p in target.iterdir() if p.is_dir() or p.suffix in LANGUAGES)
            shown = [p for p in names if not p.name.startswith(("_", "."))]
            listed = "".join(f"- [{p.name}]({os.path.relpath(self.page(p), place.parent)})\n" for p in shown)
            return title + listed
        if target.suffix == ".ipynb":
            return title + notebook(target)
        return title + fenced(target.read_text("utf-8"), LANGUAGES.get(target.suffix, "text"))

    def linked(self, text: str, source: Path, place: Path) -> str:
        """A page with its links, which are relative to `source`, leading to where pages stand on the site."""

        def link(found: re.Match[str]) -> str:
            target = (source / found[2]).resolve()
            if not target.exists():
                return found[0]  # a warning of Sphinx's
            if source == place and target.suffix == ".md" and target.is_relative_to(DOCS):
                return found[0]
            return f"[{found[1]}]({os.path.relpath(self.page(target), place)}{found[3] or ''})"

        def image(found: re.Match[str]) -> str:
            return f"{found[1]}({os.path.relpath(source / found[2], place)})"

        if source != place:
            text = outside_fences(text, lambda part: IMAGE.sub(image, part))
        return outside_fences(text, lambda part: LINK.sub(link, part))


def outside_fences(text: str, change: Any) -> str:
    """A page whose text is changed, and whose fenced blocks are not."""
    parts = re.split(r"(^(`{3,})[^\n]*\n.*?^\2$)", text, flags=re.MULTILINE | re.DOTALL)
    return "".join(change(part) if number % 3 == 0 else part for number, part in enumerate(parts) if number % 3 != 2)


def fenced(text: str, language: str) -> str:
    return f"`````{language}\n{text.rstrip()}\n`````\n"


def notebook(path: Path) -> str:
    """The cells of a notebook; its plots and tables are seen where it is run."""
    cells = json.loads(path.read_text("utf-8"))["cells"]
    parts = []
    for cell in cells:
        text = "".join(cell["source"])
        parts.append(re.sub("^#", "##", text) if cell["cell_type"] == "markdown" else fenced(text, "python"))
    return "\n\n".join(parts) + "\n"


def for_the_site(text: str) -> str:
    """A page without the comments for the tests; files get a caption, and what a block shows is marked as its output."""
    lines = text.split("\n")
    for block in reversed(blocks_of(text)):
        opening = lines[block.line - 1]
        fence = re.match(r" *`{3,}", opening)
        options = []
        if "file" in block.options:
            options.append(f":caption: {block.options['file']}")
        if block.shown:
            options.append(":class: output")
        if fence and options:
            indent = " " * (len(opening) - len(opening.lstrip()))
            lines[block.line - 1 : block.line] = [
                f"{fence[0]}{{code-block}} {block.tag}", *(indent + option for option in options), "",
            ]  # fmt: skip
    return outside_fences("\n".join(lines), lambda part: PICTURE.sub(images, COMMENT.sub("", part)))


def images(picture: re.Match[str]) -> str:
    """A picture in two versions as the theme shows it: one in its dark mode, the other in its light one."""
    dark, alt, light = picture.groups()
    shown = (("only-light", light), ("only-dark", dark))
    return "\n".join(f"```{{image}} /{place}\n:alt: {alt}\n:class: {mode}\n```\n" for mode, place in shown)


def navigation(text: str) -> str:
    """The lists of the start page as hidden tables of contents, one a section."""
    parts = []
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        pages = [f"{title.replace('`', '')} <{place.removesuffix('.md')}>" for title, place in ITEM.findall(section)]
        parts += ["\n```{toctree}", ":hidden:", f":caption: {section.splitlines()[0]}", "", *pages, "```\n"]
    return "\n".join(parts)


def preview(title: str, text: str, picture: str) -> str:
    """Return what others show of a link to a page: its title, its first words and a picture."""
    words = re.sub(r"\s+", " ", text)
    if len(words) > 200:
        words = words[:200].rpartition(" ")[0] + " ..."
    named = {
        "og:title": title,
        "og:description": words,
        "og:type": "website",
        "og:site_name": project,
        "og:image": picture,
    }
    named |= {"og:image:width": "1280", "og:image:height": "640", "og:image:alt": "initdsl: a rule file of four lines"}
    tags = [f'<meta property="{name}" content="{escape(value)}">' for name, value in named.items()]
    tags += [
        '<meta name="twitter:card" content="summary_large_image">',
        f'<meta name="description" content="{escape(words)}">',
    ]
    return "\n".join(tags)


def setup(app: Any) -> None:
    repository = Repository()
    for page in DOCS.glob("*.md"):  # before Sphinx looks for pages
        repository.linked(page.read_text("utf-8"), DOCS, DOCS)

    def read(app: Any, name: str, source: list[str]) -> None:
        if name.startswith("repository/"):
            return
        text = repository.linked(for_the_site(source[0]), DOCS, DOCS)
        source[0] = text + (navigation(text) if name == "index" else "")

    def show(app: Any, name: str, template: str, context: dict[str, Any], document: Any) -> None:
        if document is None:
            return
        texts = (one.astext() for one in document.findall(lambda node: node.tagname == "paragraph"))
        title = re.sub(r"<[^>]+>", "", context["title"])
        picture = (
            f"{html_baseurl.rstrip('/')}/_static/social.png"
            if html_baseurl
            else context["pathto"]("_static/social.png", 1)
        )
        context["metatags"] += preview(unescape(title), next(texts, ""), picture)

    app.connect("source-read", read)
    app.connect("html-page-context", show)
    for name in ("initdsl", "init"):
        app.add_lexer(name, InitDSLLexer)
    for name in ("vectors", "draws"):  # numbers that other tests read
        app.add_lexer(name, TextLexer)
