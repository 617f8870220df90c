"""Draws what an editor shows of a rule file: colours, counts and a finding, all of them the language server's answers."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import NamedTuple

from palette import CODE, Code

from initdsl.server.colours import coloured
from initdsl.server.findings import findings
from initdsl.server.hover import counts
from initdsl.server.known import known_at
from initdsl.server.outline import outline

LETTER, LINE, LEFT, TOP = 8.43, 22, 56, 52
# what a kind of word is drawn in
KINDS = {
    "statement": "keyword", "word": "keyword", "class": "class_", "function": "function", "number": "number",
    "constant": "number", "pseudo": "number", "comment": "comment",
}  # fmt: skip


class Shown(NamedTuple):
    """What an editor shows: the text, words with their kinds, counts behind selectors, and findings with their places."""

    text: str
    words: list[tuple[int, int, str]]
    counts: list[tuple[int, str]]
    findings: list[tuple[int, int, str]]


def shown(path: str) -> Shown:
    """Ask the server about a file beside which a `pyproject.toml` names a manifest."""
    text = Path(path).read_text("utf-8")
    known, found = known_at(path), outline(text)
    words = [(start, end, "comment") for start, end in found.pieces.comments]
    for piece in found.pieces.pieces:
        words += [(piece.start + one.start, piece.start + one.end, one.kind) for one in coloured(piece.text)]
    said = [
        (one.span.start, one.span.end, f"{one.message}" + (f": {one.hint}" if one.hint else ""))
        for one in findings(path, text, known)
        if one.span is not None
    ]
    return Shown(text, sorted(words), counts(found, 0, len(text), known), said)


def picture(seen: Shown, theme: str) -> str:
    """Return the window of an editor as an SVG that loads nothing."""
    colours = CODE[theme]
    back, text, faint, panel, error = colours[:5]
    lines = seen.text.splitlines()
    parts, at = [], 0
    for number, line in enumerate(lines):
        parts += row(seen, number, at, line, colours)
        at += len(line) + 1
    y = TOP + LINE * len(lines) + 10
    for start, _, message in seen.findings:
        place = seen.text.count("\n", 0, start) + 1
        parts.append(f'<circle cx="26" cy="{y + 14}" r="5" fill="{error}"/>')
        parts.append(words(44, y + 19, f"line {place}: {message}", text))
        y += LINE
    width, height = 980, y + 18
    bottom = TOP + LINE * len(lines)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="DejaVu Sans Mono, Menlo, Consolas, monospace" font-size="14">',
            f'<rect width="{width}" height="{height}" rx="8" fill="{back}" stroke="{faint}" stroke-opacity=".4"/>',
            f'<rect x="1" y="1" width="{width - 2}" height="34" rx="7" fill="{panel}"/>',
            words(20, 23, "model.init", text),
            f'<rect x="1" y="{bottom}" width="{width - 2}" height="{height - bottom - 1}" rx="7" fill="{panel}"/>',
            *parts,
            "</svg>\n",
        ]
    )


def row(seen: Shown, number: int, at: int, line: str, colours: Code) -> list[str]:
    """Draw a line: its number, its words, the counts behind its selectors, which push the rest on, and its mistakes."""
    text, faint, panel, error = colours[1:5]
    y = TOP + LINE * number + 6
    counted = [(offset - at, label) for offset, label in seen.counts if at <= offset <= at + len(line)]
    parts = [words(22, y, f"{number + 1:>2}", faint)]
    kinds: list[str] = [text] * len(line)
    for start, end, kind in seen.words:
        for column in range(max(start - at, 0), min(end - at, len(line))):
            kinds[column] = getattr(colours, KINDS[kind]) if kind in KINDS else text

    def x(column: int) -> float:
        return LEFT + LETTER * (column + sum(len(label) + 2 for place, label in counted if place <= column))

    column = 0
    stops = {place for place, _ in counted}
    while column < len(line):
        end = column + 1
        while end < len(line) and kinds[end] == kinds[column] and end not in stops:
            end += 1
        if word := line[column:end].strip():
            blank = len(line[column:end]) - len(line[column:end].lstrip())
            parts.append(words(x(column + blank), y, word, kinds[column]))
        column = end
    for place, label in counted:
        left = x(place) - LETTER * (len(label) + 1.5)
        parts.append(
            f'<rect x="{left - 3:.1f}" y="{y - 14}" width="{LETTER * len(label) + 6:.1f}" height="19" rx="3" fill="{panel}"/>'
        )
        parts.append(words(left, y, label, faint))
    for start, end, _ in seen.findings:
        if at <= start <= at + len(line):
            width = LETTER * (min(end, at + len(line)) - start)
            wave = "q 2 -3 4 0 t 4 0 " * round(width / 8)
            parts.append(f'<path d="M{x(start - at):.1f} {y + 5} {wave.strip()}" fill="none" stroke="{error}"/>')
    return parts


def words(x: float, y: float, text: str, colour: str) -> str:
    # the width is said, so that another font keeps the columns
    width = f' textLength="{LETTER * len(text):.1f}"'
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}"{width} xml:space="preserve">{escape(text, quote=False)}</text>'
    )
