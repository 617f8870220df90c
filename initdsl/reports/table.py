"""What was done, or would be: the Report, and plans and reports as tables."""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import escape
from typing import TYPE_CHECKING, Any

from initdsl.language.syntax.nodes import Assign, Number, Unary, Word
from initdsl.language.syntax.walk import walk
from initdsl.planning.actions import Value
from initdsl.planning.plan import totals
from initdsl.text.diagnostic import printable
from initdsl.text.tables import Cell, aligned, html_table
from initdsl.text.wording import relative_location

if TYPE_CHECKING:
    from initdsl.planning.actions import Action
    from initdsl.planning.plan import Plan, PlanEntry

__all__ = ["LAYER_NUMBER", "grouped", "plan_text", "range_name", "resolved", "summary", "table"]


# what the table says of a parameter that no rule reaches
UNCOVERED = "- uncovered"


# characters of a cell, above which its neighbours give way
WIDEST = 60


HEADINGS = ("parameter", "shape", "how", "values", "rule")


def summary(plan: Plan) -> str:
    """One line: how many tensors and elements are set, kept, left."""
    count = totals(e for e in plan.entries if e.tensor.kind != "buffer")
    words = {
        "set": "set",
        "default": "torch's default",
        "kept": "kept",
        "partial": "partly set",
        "uncovered": "uncovered",
    }
    parts = [f"{count[k]['tensors']} {w} ({count[k]['elements']:,} elements)" for k, w in words.items() if k in count]
    buffers = sum(e.tensor.kind == "buffer" for e in plan.entries)
    if buffers:
        parts.append(f"{buffers} buffer{'s' * (buffers > 1)} set")
    if plan.ties:
        parts.append(f"{len(plan.tied)} tied")
    if plan.warnings:
        parts.append(f"{len(plan.warnings)} rule{'s' * (len(plan.warnings) > 1)} unmatched")
    return ", ".join(parts) or "no parameters"


# a step of a name that is a number; a space ends one too, where something is said of a layer
LAYER_NUMBER = re.compile(r"(?<![^.])\d+(?![^. ])")


def grouped(entries: Iterable[PlanEntry]) -> list[tuple[str, list[PlanEntry]]]:
    """Entries that differ only in layer numbers, together: `layers.{0..11}.attn.qkv.weight`."""
    groups: dict[Any, list[PlanEntry]] = {}
    for entry in entries:
        pattern = LAYER_NUMBER.sub("{}", entry.name)
        clauses = tuple(a.clause.number for a in entry.actions)
        key = (pattern, entry.shape, entry.dtype, clauses, entry.status, len(entry.names))
        groups.setdefault(key, []).append(entry)
    named: list[tuple[str, list[PlanEntry]]] = []
    for key, members in groups.items():
        named.append((range_name(key[0], [m.name for m in members]), members))
    return named


def range_name(pattern: str, names: list[str]) -> str:
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


def _rows(plan: Plan, group: bool) -> list[tuple[str, str, str, str, str]]:
    rows = []
    groups = grouped(plan.entries) if group else [(entry.label, [entry]) for entry in plan.entries]
    for name, members in groups:
        entry = members[0]
        shown = name if len(members) == 1 else f"{name} x{len(members)}"
        others = len(entry.names) - 1
        if others:
            shown += f" (= {entry.names[1]}{f' and {others - 1} more' if others > 1 else ''})"
        effect = entry.effect
        effect = effect or ("kept as it is" if entry.status == "kept" else UNCOVERED)
        place = ", ".join(dict.fromkeys(relative_location(p) for _, p in entry.statements))
        values = list(dict.fromkeys(resolved(member) for member in members))
        shown_values = values[0] if len(values) == 1 else f"{values[0]} .. {values[-1]}"
        size = "x".join(map(str, entry.shape)) or "scalar"
        if entry.tensor.part:
            size += f", here {entry.tensor.part}"
        rows.append((shown, size, effect, shown_values, place))
    return rows


def resolved(entry: PlanEntry) -> str:
    """What the numbers came to, where the rule itself doesn't say it."""
    shown = []
    for action in entry.actions:
        payload = action.payload
        if hasattr(payload, "kind") or isinstance(payload, Value):
            text = str(payload)
            if text not in shown and not _said(entry, action, text):
                shown.append(text)
    return "; ".join(shown[:3])


def _said(entry: PlanEntry, action: Action, text: str) -> bool:
    """Whether a rule says itself what it comes to: a number outright, or the very call."""
    rule = action.clause.rule
    if isinstance(action.payload, Value) and isinstance(rule, Assign):
        return all(isinstance(node, Number | Unary | Word) for node in walk(rule.value))
    return text in entry.effect


def plan_text(plan: Plan, group: bool = True) -> str:
    """A plan or report as an aligned table, notes, warnings and totals last."""
    rows = [HEADINGS, *(tuple(map(printable, row)) for row in _rows(plan, group))]
    if all(not row[3] for row in rows[1:]):
        rows = [row[:3] + row[4:] for row in rows]
    lines = aligned(rows, WIDEST)
    for names in plan.tied:
        lines.append(printable(f"tied: {' = '.join(names)}"))
    for finding in (*plan.warnings, *plan.notes):
        place = f" ({finding.location})" if finding.location else ""
        hint = f"; {' '.join(finding.hint.splitlines())}" if finding.hint else ""
        lines.append(printable(f"{finding.severity}[{finding.name}]: {finding.message}{hint}{place}"))
    lines.append(summary(plan))
    return "\n".join(lines)


# a notebook's own style sets numbers and words to the right
LEFT = "text-align:left;vertical-align:top;overflow-wrap:anywhere"


MOST_ROWS = 200


def table(plan: Plan) -> str:
    """A plan as an HTML table for notebooks, repeated layers in one row; of very many rows the first are shown.

    Its colours are the notebook's own, dark or light.
    """
    rows = _rows(plan, group=True)
    cells = [[Cell(text, text == UNCOVERED) for text in row] for row in rows[:MOST_ROWS]]
    found = "".join(
        f"<li>{escape(f'{finding.severity}[{finding.name}]: {finding.message}')}</li>"
        for finding in (*plan.warnings, *plan.notes)[:20]
    )
    return (
        f"{html_table(HEADINGS, cells, more=max(0, len(rows) - MOST_ROWS), style=LEFT)}"
        f"{f'<ul>{found}</ul>' if found else ''}<p>{escape(summary(plan))}</p>"
    )
