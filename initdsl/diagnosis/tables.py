"""Diagnoses as tables: for terminals through rich, for notebooks as HTML. Repeated layers are one row."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator, Sequence
from html import escape
from textwrap import wrap
from typing import TYPE_CHECKING

from initdsl.reports.table import LAYER_NUMBER, range_name
from initdsl.text.tables import Cell, html_table

from .findings import Findings
from .recorder import Layer
from .verdict import NOTED_DEAD, NOTED_GROWTH, NOTED_SATURATED, NOTED_SIMILARITY, NOTED_UPDATE, factor

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["about", "as_html", "as_text", "rich_tables", "sentences"]


# columns of text that no table fills
WIDEST = 400


NOTHING = Cell("")


def groups(layers: Sequence[Layer], every: bool) -> list[tuple[str, list[Layer]]]:
    """Return the layers of each row: those whose names differ in numbers and whose class is the same, in first order."""
    if every:
        return [(layer.name, [layer]) for layer in layers]
    alike: dict[tuple[str, str], list[Layer]] = {}
    for layer in layers:
        alike.setdefault((LAYER_NUMBER.sub("{}", layer.name), layer.cls), []).append(layer)
    return [(range_name(pattern, [one.name for one in members]), members) for (pattern, _), members in alike.items()]


def _first_to_last(layers: Sequence[Layer], value: Callable[[Layer], float]) -> Cell:
    """Return a value from the first layer to the last; not finite, or ten times another, it needs a look."""
    values = [value(layer) for layer in layers]
    if all(map(math.isnan, values)):
        return NOTHING
    first, last = values[0], values[-1]
    broken = not all(map(math.isfinite, values))
    if len(layers) == 1:
        return Cell(factor(first), broken)
    change = abs(last / first) if first else math.inf
    return Cell(f"{factor(first)} → {factor(last)}", broken or not change or max(change, 1 / change) > NOTED_GROWTH)


def _largest(layers: Sequence[Layer], value: Callable[[Layer], float | None], limit: float, share: bool = True) -> Cell:
    values = [v for layer in layers if (v := value(layer)) is not None]
    if not values:
        return NOTHING
    largest = max(values)
    return Cell(f"{largest:.0%}" if share else factor(largest), largest > limit)


def _rank(layers: Sequence[Layer]) -> Cell:
    last = layers[-1]
    return NOTHING if last.rank is None else Cell(f"{last.rank:.3g}/{last.rows}", last.rank < 1.5)


def _symmetric(layers: Sequence[Layer]) -> Cell:
    compared = [layer for layer in layers if layer.symmetric is not None]
    if not compared:
        return NOTHING
    worst = max(compared, key=lambda one: (one.symmetric or 0) / (one.units or 1))
    return Cell(f"{worst.symmetric}/{worst.units}", True) if worst.symmetric else Cell("0")


COLUMNS: tuple[tuple[str, Callable[[Sequence[Layer]], Cell]], ...] = (
    ("act mean", lambda layers: _first_to_last(layers[-1:], lambda one: one.mean)),
    ("act std", lambda layers: _first_to_last(layers, lambda one: one.std)),
    ("grad std", lambda layers: _first_to_last(layers, lambda one: one.grad_std)),
    ("dead", lambda layers: _largest(layers, lambda one: one.dead, NOTED_DEAD)),
    ("satur.", lambda layers: _largest(layers, lambda one: one.saturated, NOTED_SATURATED)),
    ("cosine", lambda layers: _largest(layers, lambda one: one.similarity, NOTED_SIMILARITY, share=False)),
    ("rank", _rank),
    ("alike", _symmetric),
    ("update", lambda layers: _largest(layers, lambda one: one.update_ratio, NOTED_UPDATE, share=False)),
)


COMPARED = ("act std", "grad std", "dead", "satur.", "cosine", "update")


def rows(sides: Sequence[Findings], every: bool) -> Iterator[list[Cell]]:
    """Yield name, class and values of each row; of two sides, the columns alternate."""
    columns = [value for name, value in COLUMNS if len(sides) == 1 or name in COMPARED]
    others = [dict(groups(side.layers, every)) for side in sides[1:]]
    for name, layers in groups(sides[0].layers, every):
        shown = name if len(layers) == 1 else f"{name} ×{len(layers)}"
        cells = [Cell(shown), Cell(layers[0].cls)]
        for value in columns:
            cells.append(value(layers))
            cells += [value(other[name]) if name in other else NOTHING for other in others]
        yield cells


def headings(sides: Sequence[Findings]) -> list[str]:
    """Return the names of the columns."""
    if len(sides) == 1:
        return ["layer", "class", *(name for name, _ in COLUMNS)]
    return ["layer", "class", *(f"{name} {side}" for name, _ in COLUMNS if name in COMPARED for side in "AB")]


# of a name that is too long for a terminal, the least that stands in a line
NAME_WIDTH = 24


def rich_tables(sides: Sequence[Findings], every: bool = False, width: int = WIDEST) -> list[Table]:
    """Return the table for a terminal, without empty columns; what needs a look is yellow.

    On a terminal that is too narrow for all columns it is several, each with the names of the layers.
    """
    body, names = list(rows(sides, every)), headings(sides)
    filled = [i for i, _ in enumerate(names) if i < 2 or any(cells[i].text for cells in body)]
    widths = {i: max(len(names[i]), *(len(cells[i].text) for cells in body)) if body else len(names[i]) for i in filled}
    if sum(widths.values()) + 3 * len(filled) > width:
        widths[0] = min(widths[0], max(NAME_WIDTH, width - 3 - max(widths[i] for i in filled[1:])))
    parts: list[list[int]] = [[0]]
    for i in filled[1:]:
        if sum(widths[k] + 3 for k in parts[-1]) + widths[i] > width and len(parts[-1]) > 1:
            parts.append([0])
        parts[-1].append(i)
    return [_part(body, names, part, widths[0]) for part in parts]


def _part(body: list[list[Cell]], names: Sequence[str], columns: Sequence[int], name_width: int) -> Table:
    """Return some columns of a table."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for i in columns:
        table.add_column(names[i], justify="left" if i < 2 else "right", no_wrap=True)
    for cells in body:
        texts = {i: cells[i].text for i in columns}
        texts[0] = "\n".join(
            wrap(texts[0], name_width, break_on_hyphens=False)
        )  # versions of rich fold to other widths
        table.add_row(*(Text(texts[i], style="yellow" if cells[i].marked else "") for i in columns))
    return table


def about(sides: Sequence[Findings]) -> list[str]:
    """Return what was diagnosed, in a line each."""
    lines = [f"{side.net} by {side.title}, on {side.inputs}" for side in sides]
    return lines if len(lines) == 1 else [f"{mark}: {line}" for mark, line in zip("AB", lines, strict=True)]


def sentences(sides: Sequence[Findings]) -> list[tuple[str, bool]]:
    """Return the verdicts, a line each, and whether it is a warning."""
    return [
        (f"{mark}: {remark}" if len(sides) > 1 else str(remark), remark.severity == "warning")
        for mark, side in zip("AB", sides, strict=False)
        for remark in side.verdict
    ]


def as_text(sides: Sequence[Findings], every: bool = False) -> str:
    """Return the table and the verdicts without colours, as wide as they need."""
    from rich.console import Console

    plain = io.StringIO()
    console = Console(file=plain, width=WIDEST, color_system=None, highlight=False)
    for table in rich_tables(sides, every):
        console.print(table)
    lines = [line.rstrip() for line in plain.getvalue().splitlines()]
    verdict = [f"{'warning: ' if warning else ''}{text}" for text, warning in sentences(sides)]
    return "\n".join([*about(sides), "", *lines, "", *verdict])


def as_html(sides: Sequence[Findings]) -> str:
    """Return the table and the verdicts for notebooks."""
    items = "".join(f"<li>{'⚠ ' if warning else ''}{escape(text)}</li>" for text, warning in sentences(sides))
    lines = "".join(f"<p>{escape(line)}</p>" for line in about(sides))
    return f"{lines}<ul>{items}</ul>{html_table(headings(sides), rows(sides, every=False))}"
