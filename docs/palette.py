"""The colours of all pictures, those of GitHub's two themes."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["CODE", "TERMINAL", "Code"]


class Code(NamedTuple):
    """What an editor draws with."""

    back: str
    text: str
    faint: str
    panel: str
    error: str
    keyword: str
    class_: str
    function: str
    number: str
    comment: str


CODE = {
    "light": Code(
        *["#ffffff", "#24292f", "#6e7781", "#f6f8fa", "#cf222e", "#cf222e", "#116329", "#8250df", "#0550ae", "#6e7781"]
    ),
    "dark": Code(
        *["#0d1117", "#e6edf3", "#7d8590", "#161b22", "#ff7b72", "#ff7b72", "#7ee787", "#d2a8ff", "#79c0ff", "#8b949e"]
    ),
}
# background, text, then black, red, green, yellow, blue, magenta, cyan and white of a terminal
TERMINAL = {
    "light": f"{CODE['light'].back} {CODE['light'].text} #24292f #cf222e #116329 #9a6700 #0969da #8250df #1b7c83 #6e7781".split(),
    "dark": f"{CODE['dark'].back} {CODE['dark'].text} #484f58 #ff7b72 #3fb950 #d29922 #58a6ff #bc8cff #39c5cf #b1bac4".split(),
}
