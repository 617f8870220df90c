"""Draws the pictures of the pages anew: `python docs/gallery.py`. Each is what a command of its page writes.

The plots are those that commands of `docs/` save. The picture of README.md is its terminal, in light and in dark.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import sys
import tempfile
from pathlib import Path
from unittest.mock import patch

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS.parent))

from tests.conftest import let_torchvision_import  # noqa: E402
from tests.support.pages import initdsl_command, pictures_of, run_page  # noqa: E402

TERMINAL = DOCS / "gallery" / "plan-{}.svg"
SHOWN = ("initdsl plan model.init --model model.py:Model", "initdsl plan typo.init --model model.py:Model")
COLUMNS, ADVANCE = 122, 12.2  # and how wide Rich draws a letter
# background, text, then black, red, green, yellow, blue, magenta, cyan and white of a terminal
COLOURS = {
    "light": "ffffff 24292f 24292f cf222e 116329 9a6700 0969da 8250df 1b7c83 6e7781",
    "dark": "0d1117 e6edf3 484f58 ff7b72 3fb950 d29922 58a6ff bc8cff 39c5cf b1bac4",
}


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
    draw_terminal()


def draw_terminal() -> None:
    """Draw what the README shows of a terminal, in light and in dark."""
    said = terminal()
    for theme in COLOURS:
        Path(str(TERMINAL).format(theme)).write_text(picture(said, theme), "utf-8")


class Screen(io.StringIO):
    """What a command writes to, taken for a terminal: so it writes colours."""

    def isatty(self) -> bool:
        return True


def terminal() -> str:
    """Return what the terminal shows of the README's rules and of a mistake in them, with its colours as escapes."""
    import click
    from pygments import highlight
    from pygments.formatters import TerminalFormatter

    from initdsl.language.syntax.highlight import InitDSLLexer

    said = ""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        run_page("README.md", (DOCS.parent / "README.md").read_text("utf-8"), folder)
        rules = Path("model.init").read_text("utf-8")
        Path("typo.init").write_text(rules.replace("net.head", "net.haed"), "utf-8")
        said += f"{click.style('$', dim=True)} cat model.init\n{highlight(rules, InitDSLLexer(), TerminalFormatter())}"
        for command in SHOWN:
            with (
                patch("io.StringIO", Screen),
                patch.dict(os.environ, {"TERM": "xterm"}),
                patch.object(sys, "path", [folder, *sys.path]),
            ):
                os.environ.pop("NO_COLOR", None)
                _, shown = initdsl_command(shlex.split(command)[1:])
            said += f"\n{click.style('$', dim=True)} {command}\n{shown}"
    return said


def picture(said: str, theme: str) -> str:
    """Return what a terminal shows as an SVG that loads nothing."""
    from rich.console import Console
    from rich.terminal_theme import TerminalTheme
    from rich.text import Text

    back, text, *eight = [tuple(bytes.fromhex(colour)) for colour in COLOURS[theme].split()]
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="standard")
    console.print(Text.from_ansi(said), soft_wrap=True)
    drawn = console.export_svg(title="initdsl", theme=TerminalTheme(back, text, eight, eight), unique_id="initdsl")
    drawn = re.sub(r"\s*@font-face \{.*?\}\n", "", drawn, flags=re.DOTALL)
    return smaller(drawn.replace("text-decoration: underline;", ""))


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
