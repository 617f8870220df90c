"""Says how long the sentences of the pages are, page by page: `python docs/readability.py`, or of the pages that are named.

A report and no gate. A sentence is what a reader reads in one go: paragraphs and items of lists are parted at full stops and
question marks. Headings, tables, code, comments and pictures are left out.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
LONG = 30  # words

FENCE = re.compile(r"^ *(`{3,}|~{3,}).*?^ *\1 *$", re.MULTILINE | re.DOTALL)
COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
LEFT_OUT = re.compile(r"^(#|\||!\[|    ).*$", re.MULTILINE)
ITEM = re.compile(r"^ *([-*]|\d+\.) ", re.MULTILINE)
CODE = re.compile(r"(`+)[^`].*?\1", re.DOTALL)
LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
END = re.compile(r"(?<=[.!?])[\"')*_]*\s+|:\s*\Z")


def sentences(text: str) -> list[str]:
    """Return the sentences of a page of Markdown, code in them as one word."""
    text = ITEM.sub("\n\n", LEFT_OUT.sub("\n", COMMENT.sub("", FENCE.sub("\n\n", text))))
    found: list[str] = []
    for paragraph in re.split(r"\n\s*\n", text):
        plain = LINK.sub(r"\1", CODE.sub("code", paragraph)).strip()
        found += [" ".join(part.split()) for part in END.split(plain) if len(words(part)) > 1]
    return found


def words(sentence: str) -> list[str]:
    """Return the words of a sentence: what has a letter or a digit."""
    return [word for word in sentence.split() if re.search(r"\w", word)]


def measured(text: str) -> tuple[int, float, int]:
    """Return the number of sentences of a page, their mean number of words, and how many are longer than `LONG`."""
    lengths = [len(words(sentence)) for sentence in sentences(text)]
    return len(lengths), sum(lengths) / max(len(lengths), 1), sum(length > LONG for length in lengths)


def pages() -> list[Path]:
    """Return every page that people read, the long generated lists last."""
    top = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")]
    return [*top, *sorted((ROOT / "docs").glob("*.md")), ROOT / "editors" / "README.md"]


def main() -> None:
    named = [Path(name) for name in sys.argv[1:]] or pages()
    print(f"{'page':28}{'sentences':>10}{'words a sentence':>18}{f'over {LONG}':>9}")
    for page in named:
        count, mean, long = measured(page.read_text("utf-8"))
        print(f"{page.resolve().relative_to(ROOT).as_posix():28}{count:10}{mean:18.1f}{long:9}")


if __name__ == "__main__":
    main()
