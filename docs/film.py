"""Photographs the extension in a running Visual Studio Code: `python docs/film.py http://127.0.0.1:8080`.

The address is that of code-server, which shows Visual Studio Code in a browser, on this machine and with the extension:

    code-server --install-extension editors/vscode/initdsl-0.1.0.vsix
    code-server --auth none --disable-workspace-trust

It needs Chromium and Pillow. What is photographed are the rules of README.md with mistakes in them.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS.parent), str(DOCS)]

import gallery  # noqa: E402

from tests.support.browser import Browser  # noqa: E402

IMAGES = DOCS.parent / "editors" / "vscode" / "images"
SCREENSHOT, FILM = IMAGES / "vscode.png", IMAGES / "vscode.gif"
WIDTH, HEIGHT = 960, 440
TYPED = "net.blokcs[i].up.bias = 0.1 / (i + 1)"
SETTINGS = {
    "initdsl.command": [str(Path(sys.executable).with_name("initdsl")), "lsp"],
    "workbench.colorTheme": "Default Dark Modern",
    "workbench.startupEditor": "none",
    "workbench.layoutControl.enabled": False,
    "workbench.activityBar.location": "hidden",
    "window.commandCenter": False,
    "editor.minimap.enabled": False,
    "editor.cursorBlinking": "solid",
    "editor.occurrencesHighlight": "off",
    "editor.fontSize": 14,
    "breadcrumbs.enabled": False,
}
# what the page is asked: whether counts stand behind selectors, lines under mistakes, and lists are open
COUNTED = "document.querySelector('.view-lines')?.innerText.includes('parameters') ?? false"
MISTAKES = "document.querySelectorAll('.squiggly-error, .squiggly-warning').length"
COMPLETED = "document.querySelector('.suggest-widget.visible') !== null"
LISTED = "document.querySelector('.action-widget') !== null"
PATIENCE = 60


class Camera:
    """A window of the editor, and the frames that were taken of it, each with its milliseconds."""

    def __init__(self, address: str, folder: Path) -> None:
        self.browser = Browser()
        self.folder = folder
        self.frames: list[tuple[bytes, int]] = []
        opened = json.dumps([["openFile", f"vscode-remote://{address.split('//')[1].strip('/')}{folder}/model.init"]])
        self.browser.open(
            f"{address.rstrip('/')}/?{urlencode({'folder': str(folder), 'payload': opened})}", WIDTH, HEIGHT
        )
        self.wait(COUNTED)

    def wait(self, asked: str, wanted: Callable[[object], bool] = bool) -> None:
        end = time.monotonic() + PATIENCE
        while not wanted(self.browser.run(asked)):
            assert time.monotonic() < end, asked
            time.sleep(0.1)
        time.sleep(0.5)  # until it is drawn

    def press(self, *keys: str) -> None:
        for key in keys:
            self.browser.press(key)
            time.sleep(0.25)

    def command(self, name: str) -> None:
        self.press("F1")
        self.browser.type(name)
        time.sleep(1)
        self.press("Enter")
        time.sleep(1)

    def take(self, milliseconds: int) -> None:
        place = self.folder / "frame.png"
        self.browser.screenshot(place)
        self.frames.append((place.read_bytes(), milliseconds))
        place.unlink()


def said(rules: str) -> str:
    """Return what the server says of rules beside README.md's model, a line each."""
    return "\n".join(message for _, _, message in gallery.seen_in_an_editor(rules).findings)


def screenshot(address: str) -> None:
    """Photograph two mistakes, and the list of them."""
    from PIL import PngImagePlugin

    with opened(address, gallery.mistaken()) as camera:
        camera.wait(MISTAKES, lambda count: count == 2)
        camera.command("View: Focus Problems")
        camera.command("View: Focus Active Editor Group")
        camera.take(0)
        note = PngImagePlugin.PngInfo()
        note.add_text("said", shown_in()[SCREENSHOT])
        pictures(camera)[0].save(SCREENSHOT, optimize=True, pnginfo=note)


def shown_in() -> dict[Path, str]:
    """Return what the server says of the rules in each picture, which is marked in its file."""
    mistaken = gallery.mistaken()
    with gallery.folder_of_readme() as file:
        typed = f"{file.read_text('utf-8')}\n{TYPED}\n"
    return {SCREENSHOT: said(mistaken), FILM: said(typed)}


def film(address: str) -> None:
    """Film a rule being typed, the line under its mistake, and the quick fix."""
    with gallery.folder_of_readme() as file:
        rules = file.read_text("utf-8")
    with opened(address, rules) as camera:
        camera.press("Control+End", "Enter")
        camera.take(1200)
        for number, letter in enumerate(TYPED):
            camera.press(letter)
            if TYPED[: number + 1] == "net.":
                camera.wait(COMPLETED)
                camera.take(1200)
            elif number % 2:
                camera.take(120)
        camera.press("Escape")
        camera.wait(MISTAKES)
        camera.take(1500)
        camera.press("Home", *["ArrowRight"] * 6, "Control+.")
        camera.wait(LISTED)
        camera.take(1800)
        camera.press("Enter")
        camera.wait(MISTAKES, lambda count: count == 0)
        camera.take(3000)
        first, *others = pictures(camera)
        lengths = [milliseconds for _, milliseconds in camera.frames]
        first.save(
            FILM, save_all=True, append_images=others, duration=lengths, loop=0, comment=shown_in()[FILM].encode()
        )


@contextlib.contextmanager
def opened(address: str, rules: str) -> Iterator[Camera]:
    """Open rules beside README.md's model, in a window without a side bar."""
    with gallery.folder_of_readme(rules) as file:
        (file.parent / ".vscode").mkdir()
        (file.parent / ".vscode" / "settings.json").write_text(json.dumps(SETTINGS), "utf-8")
        camera = Camera(address, file.parent)
        try:
            camera.press("Control+b")
            time.sleep(1)
            yield camera
        finally:
            camera.browser.close()


def pictures(camera: Camera) -> list[Any]:
    """Return the frames, in the colours of the last one."""
    from PIL import Image

    drawn = [Image.open(io.BytesIO(data)).convert("RGB") for data, _ in camera.frames]
    colours = drawn[-1].quantize(128, kmeans=9)
    return [one.quantize(palette=colours, dither=Image.Dither.NONE) for one in drawn]


def main() -> None:
    screenshot(sys.argv[1])
    film(sys.argv[1])


if __name__ == "__main__":
    main()
