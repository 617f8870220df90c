"""A diff in rows, repeated layers in one: what text, Markdown and pages show."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from initdsl.network.garbage import MANY, no_collection
from initdsl.reports.table import LAYER_NUMBER, range_name
from initdsl.text.wording import number, relative_location

from .diff import Change, Diff, Growth
from .facts import Made

__all__ = [
    "HEADINGS",
    "KINDS",
    "Row",
    "cells_of",
    "ends",
    "growth_lines",
    "place_of",
    "rows_of",
    "summary",
    "tie_lines",
]


KINDS = {
    "drawn": "drawn otherwise",
    "set": "set otherwise",
    "covered": "covered now",
    "uncovered": "no longer covered",
    "reshaped": "of another shape or dtype",
    "derived": "made of what changes",
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
    before, after = diff.seeds
    if before is not None and before == after:
        stay += f", with the same values under seed {after}"
    return f"{', '.join(parts)}; {stay}" if parts else f"no change: {stay}"


def rows_of(changes: Sequence[Change]) -> list[Row]:
    """Return the rows of one kind of change, tensors that differ only in layer numbers in one."""
    with no_collection(len(changes) >= MANY):
        return _rows(changes)


def _rows(changes: Iterable[Change]) -> list[Row]:
    groups: dict[object, list[Change]] = {}
    for change in changes:
        key = (LAYER_NUMBER.sub("{}", _names(change)), _alike(change.before), _alike(change.after))
        groups.setdefault(key, []).append(change)
    rows = []
    for members in groups.values():
        names = [_names(member) for member in members]
        name = range_name(LAYER_NUMBER.sub("{}", names[0]), names)
        count = f" x{len(members)}" if len(members) > 1 else ""
        rows.append(Row(f"{name}{count}", *cells_of(members)))
    return rows


def cells_of(members: Sequence[Change]) -> tuple[str, str, str, str, str]:
    """Return shape, before, after, ratio and rule of tensors that change alike; the first and the last where they differ."""
    texts = dict.fromkeys((_text(m.before), _text(m.after), m.ratio) for m in members)
    change = members[0]
    both = [side for side in (change.before, change.after) if side is not None]
    shapes = dict.fromkeys(f"{_shape(side.shape)}{_dtype(change, side.dtype)}" for side in both)
    places = dict.fromkeys(place_of(side) for side in both)
    before, after, ratios = zip(*texts, strict=True)
    return " -> ".join(shapes), ends(before), ends(after), ends([_ratio(r) for r in ratios]), " -> ".join(places)


def _text(side: Made | None) -> str:
    return "" if side is None else side.text


def ends(texts: Sequence[str]) -> str:
    """Return the one text there is, or the first and the last: `normal(0, 0.02) .. normal(0, 0.01)`."""
    return texts[0] if len(set(texts)) == 1 else f"{texts[0]} .. {texts[-1]}"


def place_of(side: Made) -> str:
    """Return where the rules stand that make a tensor."""
    return ", ".join(relative_location(place) for _, place in side.statements) or "no rule"


def _ratio(ratio: float | None) -> str:
    if ratio is None or abs(ratio - 1) <= 1e-12:
        return ""
    return f"x{number(float(f'{ratio:.3g}'))}"


def tie_lines(diff: Diff) -> list[str]:
    """Return a line for each tie that is new or gone."""
    return [f"{'tied now' if change.tied else 'no longer tied'}: {' = '.join(change.names)}" for change in diff.tied]


def growth_lines(diff: Diff) -> list[str]:
    """Return how activations and gradients grow before and after; no lines where nothing ran."""
    if diff.growth is None:
        return []
    lines = []
    for what, factor in (("activations", _activations), ("gradients", _gradients)):
        before, after = (_factor(one, factor) for one in diff.growth)
        lines.append(f"{what} {before} -> {after}" if before != after else f"{what} {after}, before and after")
    return lines


def _activations(growth: Growth) -> float:
    return growth.activations


def _gradients(growth: Growth) -> float:
    return growth.gradients


def _factor(growth: Growth | None, of: Callable[[Growth], float]) -> str:
    """Return a factor in words: `x0.95 over 12 layers`."""
    if growth is None or not math.isfinite(of(growth)):
        return "unknown"
    return f"x{number(float(f'{of(growth):.2g}'))} over {growth.layers} layers"


def _names(change: Change) -> str:
    """Return the name of a tensor; both, where it has another after the change."""
    if change.before is not None and change.after is not None and change.before.name != change.after.name:
        return f"{change.before.name} -> {change.after.name}"
    return change.name


def _alike(side: Made | None) -> object:
    """Return what tensors of one row have in common on one side of a change."""
    return None if side is None else (side.shape, side.dtype, side.status, side.statements)


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def _dtype(change: Change, dtype: str) -> str:
    """Return a dtype, where it is not the same on both sides."""
    before, after = change.before, change.after
    return f" {dtype}" if before is not None and after is not None and before.dtype != after.dtype else ""
