"""Diagnoses as tables: for terminals through rich, for notebooks as HTML. Repeated layers are one row."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING

from initdsl.reports.table import LAYER_NUMBER, range_name

from .diagnosis import Diagnosis
from .recorder import Layer
from .verdict import NOTED_DEAD, NOTED_SATURATED, NOTED_SIMILARITY, NOTED_UPDATE, factor

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["about", "as_html", "as_text", "rich_table", "sentences"]


Cell = tuple[str, bool]  # what it shows, and whether that needs a look


def groups(made: Diagnosis, every: bool) -> list[tuple[str, list[Layer]]]:
    """Layers whose names differ in numbers and whose class is the same, together, in the order of the first."""
    if every:
        return [(layer.name, [layer]) for layer in made.layers]
    found: dict[tuple[str, str], list[Layer]] = {}
    for layer in made.layers:
        found.setdefault((LAYER_NUMBER.sub("{}", layer.name), layer.cls), []).append(layer)
    return [(range_name(pattern, [one.name for one in alike]), alike) for (pattern, _), alike in found.items()]


def _run(layers: Sequence[Layer], value: Callable[[Layer], float]) -> Cell:
    """A value from the first layer to the last."""
    first, last = value(layers[0]), value(layers[-1])
    if all(math.isnan(value(layer)) for layer in layers):
        return "", False
    shown = factor(first) if len(layers) == 1 else f"{factor(first)} → {factor(last)}"
    change = last / first if first else math.inf
    broken = any(not math.isfinite(value(layer)) for layer in layers)
    return shown, broken or not change or max(abs(change), 1 / abs(change)) > 10 if len(layers) > 1 else broken


def _most(layers: Sequence[Layer], value: Callable[[Layer], float | None], limit: float, share: bool = True) -> Cell:
    """The largest of the layers' values."""
    found = [v for layer in layers if (v := value(layer)) is not None]
    if not found:
        return "", False
    most = max(found)
    return (f"{most:.0%}" if share else factor(most)), most > limit


def _rank(layers: Sequence[Layer]) -> Cell:
    last = layers[-1]
    if last.rank is None:
        return "", False
    return f"{last.rank:.3g}/{last.rows}", last.rank < 1.5


def _symmetric(layers: Sequence[Layer]) -> Cell:
    found = [layer for layer in layers if layer.symmetric is not None]
    if not found:
        return "", False
    worst = max(found, key=lambda one: (one.symmetric or 0) / (one.units or 1))
    return (f"{worst.symmetric}/{worst.units}", True) if worst.symmetric else ("0", False)


COLUMNS: tuple[tuple[str, Callable[[Sequence[Layer]], Cell]], ...] = (
    ("act mean", lambda layers: _run(layers[-1:], lambda one: one.mean)),
    ("act std", lambda layers: _run(layers, lambda one: one.std)),
    ("grad std", lambda layers: _run(layers, lambda one: one.grad_std)),
    ("dead", lambda layers: _most(layers, lambda one: one.dead, NOTED_DEAD)),
    ("satur.", lambda layers: _most(layers, lambda one: one.saturated, NOTED_SATURATED)),
    ("cosine", lambda layers: _most(layers, lambda one: one.similarity, NOTED_SIMILARITY, share=False)),
    ("rank", _rank),
    ("alike", _symmetric),
    ("update", lambda layers: _most(layers, lambda one: one.update_ratio, NOTED_UPDATE, share=False)),
)


COMPARED = ("act std", "grad std", "dead", "satur.", "cosine", "update")


def rows(made: Sequence[Diagnosis], every: bool) -> Iterator[tuple[str, str, list[Cell]]]:
    """Name, class and cells of each row; of two diagnoses, the columns alternate."""
    columns = [(name, show) for name, show in COLUMNS if len(made) == 1 or name in COMPARED]
    seconds = dict(groups(made[1], every)) if len(made) > 1 else {}
    for name, layers in groups(made[0], every):
        cells = []
        for _, show in columns:
            cells.append(show(layers))
            if len(made) > 1:
                cells.append(show(seconds[name]) if name in seconds else ("", False))
        shown = name if len(layers) == 1 else f"{name} ×{len(layers)}"
        yield shown, layers[0].cls, cells


def headings(made: Sequence[Diagnosis]) -> list[str]:
    if len(made) == 1:
        return ["layer", "class", *(name for name, _ in COLUMNS)]
    return ["layer", "class", *(f"{name} {side}" for name, _ in COLUMNS if name in COMPARED for side in "AB")]


def rich_table(made: Sequence[Diagnosis], every: bool = False) -> Table:
    """The table for a terminal; what needs a look is yellow."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    body = list(rows(made, every))
    kept = [i for i in range(len(headings(made)) - 2) if any(cells[i][0] for _, _, cells in body)]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("layer", overflow="fold")
    table.add_column("class", overflow="fold")
    for i in kept:
        table.add_column(headings(made)[i + 2], justify="right", no_wrap=True)
    for name, cls, cells in body:
        table.add_row(Text(name), Text(cls), *(Text(cells[i][0], style="yellow" if cells[i][1] else "") for i in kept))
    return table


def about(made: Sequence[Diagnosis]) -> list[str]:
    """What was diagnosed, in a line each."""
    if len(made) == 1:
        return [f"{made[0].net} by {made[0].title}, on {made[0].inputs}"]
    return [f"{side}: {one.net} by {one.title}, on {one.inputs}" for side, one in zip("AB", made, strict=True)]


def sentences(made: Sequence[Diagnosis]) -> list[tuple[str, bool]]:
    """The verdict, a line each, and whether it is a warning."""
    found = []
    for side, one in zip("AB", made, strict=False):
        mark = f"{side}: " if len(made) > 1 else ""
        found += [(f"{mark}{remark}", remark.severity == "warning") for remark in one.verdict]
    return found


def as_text(made: Sequence[Diagnosis], every: bool = False, width: int | None = None) -> str:
    """The table and the verdict without colours; as wide as it needs, or `width` columns."""
    from rich.console import Console

    said = io.StringIO()
    console = Console(file=said, width=width or 400, color_system=None, highlight=False)
    console.print(rich_table(made, every))
    lines = [line.rstrip() for line in said.getvalue().splitlines()]
    verdict = [f"{'warning: ' if bad else ''}{text}" for text, bad in sentences(made)]
    return "\n".join([*about(made), "", *lines, "", *verdict])


def as_html(made: Sequence[Diagnosis]) -> str:
    """The table and the verdict for notebooks."""
    head = "".join(f"<th scope=col>{escape(name)}</th>" for name in headings(made))
    body = "".join(
        f"<tr><td>{escape(name)}</td><td>{escape(cls)}</td>"
        + "".join(f"<td>{f'<b>{escape(text)}</b>' if bad else escape(text)}</td>" for text, bad in cells)
        + "</tr>"
        for name, cls, cells in rows(made, every=False)
    )
    items = "".join(f"<li>{'⚠ ' if bad else ''}{escape(text)}</li>" for text, bad in sentences(made))
    said = "".join(f"<p>{escape(line)}</p>" for line in about(made))
    return f"{said}<ul>{items}</ul><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
