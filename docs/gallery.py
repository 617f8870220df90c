"""Draws the pictures of the pages anew: `python docs/gallery.py`. Each is what a command of its page writes."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from pathlib import Path

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS.parent))

from tests.conftest import let_torchvision_import  # noqa: E402
from tests.support.pages import pictures_of, run_page  # noqa: E402


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


def smaller(picture: str) -> str:
    """A picture to the hundredth of a point, its labels as they are, without blanks at the ends of lines."""
    picture = re.sub(r"<[^>]*>", lambda tag: re.sub(r"(\d\.\d\d)\d+", r"\1", tag[0]), picture)
    return "".join(f"{line.rstrip()}\n" for line in picture.splitlines())


if __name__ == "__main__":
    main()
