"""Plans, and reports of what was done, as tables."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple

from initdsl.initializers import Constant, Distribution
from initdsl.language.syntax.nodes import Assign, Number, Unary, Word
from initdsl.language.syntax.walk import walk
from initdsl.planning.actions import Reset, Value
from initdsl.planning.plan import totals
from initdsl.statistics.predicted import scaled_by
from initdsl.text.diagnostic import printable
from initdsl.text.tables import Cell, aligned, html_table
from initdsl.text.wording import number, relative_location

if TYPE_CHECKING:
    from initdsl.planning.actions import Action, Load, Payload
    from initdsl.planning.plan import Plan, PlanEntry

__all__ = [
    "HEADINGS",
    "LAYER_NUMBER",
    "grouped",
    "plan_text",
    "range_name",
    "resolved",
    "rows_of",
    "stated",
    "summary",
    "table",
]


# how a line of the text is shown: its text, and what it says: `heading`, the status of a parameter, `tied`, the severity
# of a finding, or `summary`
Paint = Callable[[str, str], str]


# characters of a cell, above which its neighbours give way
WIDEST = 60


# values of one tensor's rules that a row names
MOST_VALUES = 3


HEADINGS = ("parameter", "shape", "how", "values", "rule")
HOW = HEADINGS.index("how")


def summary(plan: Plan) -> str:
    """Return how many tensors and elements are set, kept and left, in one line."""
    count = totals(e for e in plan.entries if e.tensor.kind != "buffer")
    words = {
        "set": "set",
        "default": "torch's default",
        "kept": "kept",
        "partial": "partly set",
        "uncovered": "uncovered",
    }
    parts = [f"{count[k]['tensors']} {w} ({count[k]['elements']:,} elements)" for k, w in words.items() if k in count]
    buffers = totals(e for e in plan.entries if e.tensor.kind == "buffer")
    counts = {word: buffers[status]["tensors"] for status, word in words.items() if status in buffers}
    parts += [f"{n} buffer{'s' * (n > 1)} {word}" for word, n in counts.items()]
    if plan.ties:
        parts.append(f"{len(plan.tied)} tied")
    if plan.warnings:
        parts.append(f"{len(plan.warnings)} rule{'s' * (len(plan.warnings) > 1)} unmatched")
    return ", ".join(parts) or "no parameters"


# a step of a name that is a number; a space ends one too, where something is said of a layer
LAYER_NUMBER = re.compile(r"(?<![^.])\d+(?![^. ])")


def grouped(entries: Iterable[PlanEntry]) -> list[tuple[str, list[PlanEntry]]]:
    """Return entries that differ only in layer numbers together, by a name such as `layers.{0..11}.attn.qkv.weight`."""
    groups: dict[tuple[Any, ...], list[PlanEntry]] = {}
    for entry in entries:
        pattern = LAYER_NUMBER.sub("{}", entry.name)
        clauses = tuple(a.clause.number for a in entry.actions)
        key = (pattern, entry.shape, entry.dtype, clauses, entry.status, len(entry.names))
        groups.setdefault(key, []).append(entry)
    return [(range_name(key[0], [m.name for m in members]), members) for key, members in groups.items()]


def range_name(pattern: str, names: list[str]) -> str:
    """Return one name for several that fit a pattern, in which each `{}` is a number: `layers.{}.weight`."""
    if len(names) == 1:
        return names[0]
    numbers = [[int(n) for n in LAYER_NUMBER.findall(name)] for name in names]
    parts = []
    for column in zip(*numbers, strict=True):
        values = sorted(set(column))
        if len(values) == 1:
            parts.append(str(values[0]))
        elif values == list(range(values[0], values[-1] + 1)):
            parts.append(f"{{{values[0]}..{values[-1]}}}")
        else:
            parts.append("{" + ",".join(map(str, values)) + "}")
    name = pattern
    for part in parts:
        name = name.replace("{}", part, 1)
    return name


class Row(NamedTuple):
    """A row of the table, and what happens to its parameters: `Row(("0.bias", "8", "= 0", "", "net.init:2"), "set")`."""

    cells: tuple[str, str, str, str, str]
    status: str


def rows_of(plan: Plan, group: bool) -> list[Row]:
    """Return the rows of a plan; with `group`, repeated layers in one."""
    groups = grouped(plan.entries) if group else [(entry.label, [entry]) for entry in plan.entries]
    rows = []
    for name, members in groups:
        entry = members[0]
        effect = entry.effect or ("kept as it is" if entry.status == "kept" else "- uncovered")
        values = list(dict.fromkeys(filter(None, map(resolved, members)))) or [""]
        value_range = values[0] if len(values) == 1 else f"{values[0]} .. {values[-1]}"
        locations = ", ".join(dict.fromkeys(relative_location(location) for _, location in entry.statements))
        cells = (row_name(name, members), _row_shape(entry), effect, value_range, locations)
        rows.append(Row(cells, entry.status))
    return rows


def row_name(name: str, members: list[PlanEntry]) -> str:
    """Return the name of a row: how many tensors it stands for, and the further names they have."""
    count = f" x{len(members)}" if len(members) > 1 else ""
    others = members[0].names[1:]
    if not others:
        return f"{name}{count}"
    return f"{name}{count} (= {others[0]}{f' and {len(others) - 1} more' if len(others) > 1 else ''})"


def _row_shape(entry: PlanEntry) -> str:
    shape = "lazy" if entry.tensor.problem == "lazy" else "x".join(map(str, entry.shape)) or "scalar"
    return f"{shape}, here {entry.part}" if entry.part else shape


def resolved(entry: PlanEntry) -> str:
    """Return what the numbers of an entry's rules came to, where the rules themselves don't say it."""
    result = _after_edits(entry)
    if result is not None:
        return result
    payloads = [(a, str(payload)) for a in entry.actions if (payload := stated(a.payload)) is not None]
    texts = dict.fromkeys(text for action, text in payloads if not _says(entry, action, text))
    loads = (load for action in entry.actions for load in action.loads if not _says_load(entry, load))
    texts |= dict.fromkeys(f"{load.key} of {os.path.basename(load.path)}" for load in loads)
    return "; ".join(list(texts)[:MOST_VALUES])


def stated(payload: Payload) -> Distribution | Value | None:
    """Return the numbers that a rule sets or draws from, where the plan knows them."""
    payload = payload.gives if isinstance(payload, Reset) and payload.gives is not None else payload
    return payload if isinstance(payload, Distribution | Value) else None


def _after_edits(entry: PlanEntry) -> str | None:
    """Return what edits make of the values that are set, where that is known; None where nothing builds on them."""
    building = [edit for edit in entry.edits if edit.builds_on_values]
    if entry.base is None or not building:
        return None
    payload = stated(entry.base.payload)
    if payload is None:
        return ""
    result = (
        scaled_by(payload, building) if all(edit.index is None and edit.view is None for edit in building) else None
    )
    if result is None:
        return f"{payload}, changed"
    slices = [str(e.payload) for e in entry.edits if not e.builds_on_values and isinstance(e.payload, Distribution)]
    return "; ".join([number(result.value) if isinstance(result, Constant) else str(result), *slices][:MOST_VALUES])


def _says_load(entry: PlanEntry, load: Load) -> bool:
    """Return whether a rule names the file itself, and the tensor in it, which else has the entry's own name."""
    is_named = load.key in entry.names or load.key in entry.effect
    return is_named and os.path.basename(load.path) in entry.effect


def _says(entry: PlanEntry, action: Action, text: str) -> bool:
    """Return whether a rule says itself what it comes to: a number outright, or the very call."""
    rule = action.clause.rule
    if isinstance(action.payload, Value) and isinstance(rule, Assign):
        return all(isinstance(node, Number | Unary | Word) for node in walk(rule.value))
    return text in entry.effect


def _plain(line: str, role: str) -> str:
    return line


def plan_text(plan: Plan, group: bool = True, paint: Paint = _plain) -> str:
    """Return a plan or report as an aligned table, notes, warnings and totals last; `paint` may colour its lines."""
    rows = rows_of(plan, group)
    cells = [HEADINGS, *(tuple(map(printable, row.cells)) for row in rows)]
    if all(not row.cells[3] for row in rows):
        cells = [row[:3] + row[4:] for row in cells]
    roles = ["heading", *(row.status for row in rows)]
    lines = [paint(line, role) for line, role in zip(aligned(cells, WIDEST), roles, strict=True)]
    for names in plan.tied:
        lines.append(paint(printable(f"tied: {' = '.join(names)}"), "tied"))
    for finding in plan.findings:
        place = f" ({finding.location})" if finding.location else ""
        hint = f"; {' '.join(finding.hint.splitlines())}" if finding.hint else ""
        line = printable(f"{finding.severity}[{finding.name}]: {finding.message}{hint}{place}")
        lines.append(paint(line, finding.severity))
    lines.append(paint(summary(plan), "summary"))
    return "\n".join(lines)


# a notebook's own style sets numbers and words to the right
LEFT = "text-align:left;vertical-align:top;overflow-wrap:anywhere"


MOST_ROWS = 200


def table(plan: Plan) -> str:
    """Return a plan as an HTML table for notebooks, repeated layers in one row; of very many rows the first are shown.

    Its colours are the notebook's own, dark or light.
    """
    rows = rows_of(plan, group=True)
    cells = [
        [Cell(text, row.status == "uncovered" and column == HOW) for column, text in enumerate(row.cells)]
        for row in rows[:MOST_ROWS]
    ]
    findings = "".join(
        f"<li>{escape(f'{finding.severity}[{finding.name}]: {finding.message}')}</li>" for finding in plan.findings[:20]
    )
    return (
        f"{html_table(HEADINGS, cells, more=max(0, len(rows) - MOST_ROWS), style=LEFT)}"
        f"{f'<ul>{findings}</ul>' if findings else ''}<p>{escape(summary(plan))}</p>"
    )
