"""Draws the logo as the pixels that others want: `python docs/logo.py`.

They are the icon of the extension for Visual Studio Code, and the picture that a link to the site is shown with.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS.parent), str(DOCS)]

from palette import CODE, TERMINAL  # noqa: E402

LOGO = DOCS / "_static" / "logo.svg"
ICON = DOCS.parent / "editors" / "vscode" / "images" / "icon.png"
SOCIAL = DOCS / "_static" / "social.png"
RULES = """\
Linear.weight ~ normal(0, 0.02)
Linear.bias = 0
Block.down.weight /= sqrt(2 * len(net.blocks))
expect net covered
"""
DARK = CODE["dark"]
COLOURS = {"Name.Class": DARK.class_, "Name.Function": DARK.function, "Keyword": DARK.keyword, "Literal": DARK.number}


def main() -> None:
    for place, draw in PICTURES.items():
        place.parent.mkdir(exist_ok=True)
        draw().savefig(place, dpi=100, metadata={"Software": None}, transparent=draw is icon)


def icon() -> Any:
    """Return the logo, 256 pixels wide."""
    figure = sheet(256, 256)
    put_logo(figure, 0, 0, 256)
    return figure


def social() -> Any:
    """Return name, purpose and some rules in the measures of a link's preview: 1280 by 640."""
    figure = sheet(1280, 640)
    figure.patch.set_facecolor(DARK.back)
    put_logo(figure, 80, 72, 136)
    say(figure, 252, 118, "initdsl", size=92, weight="bold")
    say(
        figure,
        256,
        188,
        "the initial weights of a PyTorch model from a short rule file",
        size=30,
        color=TERMINAL["dark"][-1],
    )
    for number, line in enumerate(RULES.splitlines()):
        put_code(figure, 80, 340 + 62 * number, line)
    return figure


PICTURES = {ICON: icon, SOCIAL: social}


def sheet(width: int, height: int) -> Any:
    """Return a figure with one point a pixel, counted from the upper left."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / 100, height / 100), dpi=100)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    return figure


def put_logo(figure: Any, left: float, top: float, width: float) -> None:
    """Draw what `logo.svg` says: a rounded square and one line."""
    from matplotlib.patches import FancyBboxPatch, PathPatch
    from matplotlib.path import Path as Line

    svg = LOGO.read_text("utf-8")
    scale = width / attribute(svg, "width")
    axes, round_, ink = figure.axes[0], attribute(svg, "rx") * scale, 0.72 * attribute(svg, "stroke-width") * scale
    inner = width - 2 * round_
    box = f"round,pad={round_},rounding_size={round_}"
    back = re.findall(r'fill="(#\w+)"', svg)[0]
    axes.add_patch(FancyBboxPatch((left + round_, top + round_), inner, inner, box, facecolor=back, linewidth=0))
    points = [(left + x * scale, top + y * scale) for x, y in curve(re.findall(r' d="([^"]+)"', svg)[0])]
    line = Line(points, [Line.MOVETO] + [Line.CURVE4] * (len(points) - 1))
    axes.add_patch(PathPatch(line, fill=False, edgecolor="white", linewidth=ink, capstyle="round", joinstyle="round"))


def attribute(svg: str, name: str) -> float:
    return float(re.findall(rf'\b{name}="([\d.]+)"', svg)[0])


def curve(path: str) -> list[tuple[float, float]]:
    """Return the points of a path of `M`, `c` and `s`, the last with the mirrored point that it leaves out."""
    points: list[tuple[float, float]] = []
    for command, text in re.findall(r"([Mcs])([^Mcs]*)", path):
        numbers = [float(number) for number in re.findall(r"-?[\d.]+", text)]
        x, y = points[-1] if points else (0.0, 0.0)
        given = [(x + dx, y + dy) for dx, dy in zip(numbers[::2], numbers[1::2], strict=True)]
        if command == "s":
            before = points[-2]
            given.insert(0, (2 * x - before[0], 2 * y - before[1]))
        points += given
    return points


def say(figure: Any, left: float, middle: float, text: str, size: float, **style: Any) -> Any:
    style = {"color": "white", "family": "DejaVu Sans", "va": "center", **style}
    return figure.axes[0].text(left, middle, text, fontsize=0.72 * size, **style)


def put_code(figure: Any, left: float, middle: float, line: str) -> None:
    """Draw a line of a rule file in the colours of its lexer."""
    from initdsl.language.syntax.highlight import InitDSLLexer

    size, advance = 38, 38 * 0.602  # how wide a letter of DejaVu Sans Mono is
    for start, kind, text in InitDSLLexer().get_tokens_unprocessed(line):
        names = [colour for name, colour in COLOURS.items() if str(kind).startswith(f"Token.{name}")]
        colour = names[0] if names else DARK.text
        say(figure, left + start * advance, middle, text, size, color=colour, family="DejaVu Sans Mono")


if __name__ == "__main__":
    main()
