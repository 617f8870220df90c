"""Draws the pictures of the pages anew: `python docs/gallery.py`. Each is what a command of its page writes.

The plots are those that commands of `docs/` save. Terminals, the editor and a report are drawn in light and in dark.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import shlex
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS.parent), str(DOCS)]

import editor  # noqa: E402
from palette import TERMINAL  # noqa: E402

from tests.conftest import let_torchvision_import  # noqa: E402
from tests.support.pages import initdsl_command, pictures_of, run_page  # noqa: E402

# the pages whose terminals are drawn, and the commands; of README.md with the rules, and a mistake in them
TERMINALS = {
    "plan": (
        "README.md",
        ["initdsl plan model.init --model model.py:Model", "initdsl plan typo.init --model model.py:Model"],
    ),
    "diagnose": ("docs/diagnose.md", ["initdsl diagnose small.init --model model.py:Model --seed 0"]),
    "verify": ("docs/verifying.md", ["initdsl verify changed.init start.safetensors --model model.py:build"]),
}
COLUMNS, ADVANCE = 122, 12.2  # and how wide Rich draws a letter


def main() -> None:
    import matplotlib

    let_torchvision_import()
    # small files, the same each time
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "initdsl", "font.sans-serif": ["DejaVu Sans"]})
    os.environ.update({"SOURCE_DATE_EPOCH": "0", "NO_COLOR": "1", "COLUMNS": "80"})
    for page in sorted(DOCS.glob("*.md")):
        text = page.read_text("utf-8")
        if not (pictures := pictures_of(text)):
            continue
        with tempfile.TemporaryDirectory() as folder:
            run_page(page.name, text, folder)
            for place in pictures:
                (DOCS / place).parent.mkdir(exist_ok=True)
                drawn = (Path(folder) / Path(place).name).read_text("utf-8")
                (DOCS / place).write_text(smaller(drawn), "utf-8")
    for name in TERMINALS:
        draw_terminal(name)
    for theme in TERMINAL:
        place_of("editor", theme).write_text(editor.picture(seen_in_an_editor(mistaken()), theme), "utf-8")
    draw_report()


def place_of(name: str, theme: str) -> Path:
    return DOCS / "gallery" / f"{name}-{theme}.svg"


def draw_terminal(name: str) -> None:
    """Draw what a page shows of a terminal, in light and in dark."""
    said = terminal(name)
    for theme in TERMINAL:
        place_of(name, theme).write_text(picture(said, theme), "utf-8")


class Screen(io.StringIO):
    """What a command writes to, taken for a terminal: so it writes colours."""

    def isatty(self) -> bool:
        return True


def terminal(name: str) -> str:
    """Return what the terminal of a page shows, with its colours as escapes."""
    import click

    page, commands = TERMINALS[name]
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        run_page(page, (DOCS.parent / page).read_text("utf-8"), folder)
        said = with_a_mistake() if name == "plan" else ""
        for command in commands:
            with (
                patch("io.StringIO", Screen),
                patch.dict(os.environ, {"TERM": "xterm", "COLUMNS": str(COLUMNS)}),
                patch.object(sys, "path", [folder, *sys.path]),
            ):
                os.environ.pop("NO_COLOR", None)
                _, shown = initdsl_command(shlex.split(command)[1:])
            said += f"\n{click.style('$', dim=True)} {command}\n{shown}"
    return said.lstrip("\n")


def with_a_mistake() -> str:
    """Write the rules of README.md with a mistake beside them, and return them as a terminal shows them."""
    import click
    from pygments import highlight
    from pygments.formatters import TerminalFormatter

    from initdsl.language.syntax.highlight import InitDSLLexer

    rules = Path("model.init").read_text("utf-8")
    Path("typo.init").write_text(rules.replace("net.head", "net.haed"), "utf-8")
    return f"{click.style('$', dim=True)} cat model.init\n{highlight(rules, InitDSLLexer(), TerminalFormatter())}"


def picture(said: str, theme: str) -> str:
    """Return what a terminal shows as an SVG that loads nothing."""
    from rich.console import Console
    from rich.terminal_theme import TerminalTheme
    from rich.text import Text

    back, text, *eight = [tuple(bytes.fromhex(colour[1:])) for colour in TERMINAL[theme]]
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="standard")
    console.print(Text.from_ansi(said), soft_wrap=True)
    drawn = console.export_svg(title="initdsl", theme=TerminalTheme(back, text, eight, eight), unique_id="initdsl")
    drawn = re.sub(r"\s*@font-face \{.*?\}\n", "", drawn, flags=re.DOTALL)
    return smaller(drawn.replace("text-decoration: underline;", ""))


@contextlib.contextmanager
def folder_of_readme(rules: str | None = None) -> Iterator[Path]:
    """Make a folder of README.md's model, its manifest and its rules, or others; give the file of the rules."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        run_page("README.md", (DOCS.parent / "README.md").read_text("utf-8"), folder)
        if rules is not None:
            Path("model.init").write_text(rules, "utf-8")
        with patch.object(sys, "path", [folder, *sys.path]):
            initdsl_command(["manifest", "--model", "model.py:Model", "-o", "model.json"])
        Path("pyproject.toml").write_text('[tool.initdsl]\nmanifest = "model.json"\n', "utf-8")
        yield Path("model.init").resolve()


def mistaken() -> str:
    """Return the rules of README.md with two mistakes in them."""
    with folder_of_readme() as file:
        return file.read_text("utf-8").replace("net.head", "net.haed").replace("sqrt", "sqr")


def seen_in_an_editor(rules: str) -> editor.Shown:
    """Return what an editor shows of rules beside a manifest of README.md's model."""
    with folder_of_readme(rules) as file:
        return editor.shown(str(file))


def report() -> str:
    """Return the page that the commands of reports.md save."""
    with tempfile.TemporaryDirectory() as folder:
        run_page("reports.md", (DOCS / "reports.md").read_text("utf-8"), folder)
        return (Path(folder) / "init.html").read_text("utf-8")


def mark(page: str) -> str:
    """Return what tells whether a page looks as it did: its text, style and scripts, without numbers and the engine."""
    return hashlib.sha256(
        re.sub(r"\([^()]*(?:\([^()]*\))?\)\.</p>|sha256-[^']*|[-\u2212+.\de]", "", page).encode()
    ).hexdigest()


def draw_report() -> None:
    """Draw a report as a browser shows it; what is shown is marked in the file."""
    from tests.support.browser import CHROMIUM, Browser

    if CHROMIUM is None:
        print("no picture of a report: there is no Chromium")
        return
    browser, page = Browser(), report()
    for theme in TERMINAL:
        place = place_of("report", theme).with_suffix(".png")
        photograph(browser, page, place, width=1100, height=760, dark=theme == "dark")
    browser.close()


def photograph(browser: Any, page: str, place: Path, **how: Any) -> None:
    """Write what a browser shows of a page as a small PNG that has the mark of the page in it."""
    from PIL import Image, PngImagePlugin

    marks = PngImagePlugin.PngInfo()
    marks.add_text("page", mark(page))
    with tempfile.TemporaryDirectory() as folder:
        shown, drawn = Path(folder, "page.html"), Path(folder, "page.png")
        shown.write_text(page, "utf-8")
        browser.open(shown, **how)
        browser.screenshot(drawn)
        Image.open(drawn).convert("RGB").quantize(128).save(place, optimize=True, pnginfo=marks)


def words_of(picture: str) -> str:
    """Return what one reads in a picture of a terminal, line by line."""
    import html

    lines: dict[float, str] = {}
    for x, y, text in re.findall(r'<text class="initdsl-r\d+" x="([\d.]+)" y="([\d.]+)"[^>]*>(.*?)</text>', picture):
        before = lines.get(float(y), "").ljust(round(float(x) / ADVANCE))
        lines[float(y)] = before + html.unescape(text).replace("\xa0", " ")
    return "\n".join(lines[y].rstrip() for y in sorted(lines))


def smaller(picture: str) -> str:
    """A picture to the hundredth of a point, its labels as they are, without blanks at the ends of lines."""
    picture = re.sub(r"<[^>]*>", lambda tag: re.sub(r"(\d\.\d\d)\d+", r"\1", tag[0]), picture)
    return "".join(f"{line.rstrip()}\n" for line in picture.splitlines())


if __name__ == "__main__":
    main()
