"""A diff in rows, repeated layers in one: what text, Markdown and pages show."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from initdsl.reports.table import LAYER_NUMBER, range_name
from initdsl.text.wording import number, relative_location

from .diff import Change, Diff
from .facts import Made

__all__ = ["HEADINGS", "KINDS", "Row", "rows_of", "summary", "tie_lines"]


KINDS = {
    "drawn": "drawn otherwise",
    "set": "set otherwise",
    "covered": "covered now",
    "uncovered": "no longer covered",
    "reshaped": "of another shape or dtype",
    "added": "new",
    "removed": "gone",
    "renamed": "perhaps renamed",
    "moved": "drawn alike, with other values",
}


HEADINGS = ("parameter", "shape", "before", "after", "std", "rule")


class Row(NamedTuple):
    """Tensors that change alike: `Row("layers.{0..11}.weight x12", "8x8", "normal(0, 0.02)", "0", "x0", "a.init:3")`."""

    name: str
    shape: str
    before: str
    after: str
    ratio: str
    rule: str


def summary(diff: Diff) -> str:
    """Return how many tensors change in which way, and how many stay, in one line."""
    parts = [f"{len(changes)} {KINDS[kind]}" for kind, changes in diff.groups.items() if changes]
    for tied, words in ((True, "tied now"), (False, "no longer tied")):
        count = sum(change.tied is tied for change in diff.tied)
        parts += [f"{count} {words}"] if count else []
    stay = f"{diff.same} as before ({diff.elements:,} elements)"
    return f"{', '.join(parts)}; {stay}" if parts else f"no change: {stay}"


def rows_of(changes: Iterable[Change]) -> list[Row]:
    """Return the rows of one kind of change."""
    cells: dict[object, tuple[str, ...]] = {}
    groups: dict[tuple[str, ...], list[Change]] = {}
    for change in changes:
        alike = (_alike(change.before), _alike(change.after))
        if alike not in cells:
            cells[alike] = _cells(change)
        groups.setdefault((LAYER_NUMBER.sub("{}", _names(change)), *cells[alike]), []).append(change)
    rows = []
    for (pattern, *texts), members in groups.items():
        name = range_name(pattern, [_names(member) for member in members])
        count = f" x{len(members)}" if len(members) > 1 else ""
        rows.append(Row(f"{name}{count}", *texts))
    return rows


def tie_lines(diff: Diff) -> list[str]:
    """Return a line for each tie that is new or gone."""
    return [f"{'tied now' if change.tied else 'no longer tied'}: {' = '.join(change.names)}" for change in diff.tied]


def _names(change: Change) -> str:
    """Return the name of a tensor; both, where it has another after the change."""
    if change.before is not None and change.after is not None and change.before.name != change.after.name:
        return f"{change.before.name} -> {change.after.name}"
    return change.name


def _alike(side: Made | None) -> object:
    """Return what decides how one side of a change is shown, its name aside."""
    return None if side is None else (side.shape, side.dtype, side.text, side.std, side.statements)


def _cells(change: Change) -> tuple[str, str, str, str, str]:
    before, after = change.before, change.after
    shapes = dict.fromkeys(f"{_shape(side.shape)}{_dtype(change, side.dtype)}" for side in (before, after) if side)
    texts = ["" if side is None else side.text for side in (before, after)]
    ratio = ""
    if change.ratio is not None and abs(change.ratio - 1) > 1e-12:
        ratio = f"x{number(float(f'{change.ratio:.3g}'))}"
    rules = [side.statements for side in (before, after) if side is not None]
    places = dict.fromkeys(", ".join(relative_location(place) for _, place in rule) or "no rule" for rule in rules)
    return " -> ".join(shapes), texts[0], texts[1], ratio, " -> ".join(places)


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def _dtype(change: Change, dtype: str) -> str:
    """Return a dtype, where it is not the same on both sides."""
    before, after = change.before, change.after
    return f" {dtype}" if before is not None and after is not None and before.dtype != after.dtype else ""
