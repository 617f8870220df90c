"""Timing two things in turn, so that a noisy machine is noisy for both."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Row", "compare", "faster", "seconds", "table"]


@dataclass(frozen=True)
class Row:
    """One line of the table: medians in seconds, the figure that has a target, and whether it is met (None: no target)."""

    case: str
    ours: float
    theirs: float
    target: str
    figure: str
    met: bool | None


def seconds(work: Callable[[], object]) -> float:
    gc.collect()
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def compare(ours: Callable[[], object], theirs: Callable[[], object], rounds: int) -> tuple[float, float, float]:
    """Medians of both and the median of their ratios, `ours / theirs`, taken in turn."""
    ours(), theirs()
    gc.collect()
    gc.freeze()  # what lasts is not looked at again before every turn
    pairs = []
    for number in range(rounds):
        if number % 2:
            other, mine = seconds(theirs), seconds(ours)
        else:
            mine, other = seconds(ours), seconds(theirs)
        pairs.append((mine, other))
    gc.unfreeze()
    ratio = statistics.median(mine / other for mine, other in pairs)
    return statistics.median(p[0] for p in pairs), statistics.median(p[1] for p in pairs), ratio


def faster(
    case: str, ours: Callable[[], object], theirs: Callable[[], object], least: float | None, rounds: int
) -> Row:
    """A row of how many times as fast as the other it is, `theirs / ours`."""
    mine, other, ratio = compare(ours, theirs, rounds)
    target = "" if least is None else f"at least {least:g}"
    return Row(case, mine, other, target, f"{1 / ratio:.2f} x", None if least is None else 1 / ratio >= least)


def table(rows: list[Row]) -> str:
    """The rows as a Markdown table."""
    lines = ["| case | initdsl | other | figure | target | met |", "|---|---|---|---|---|---|"]
    for row in rows:
        met = "" if row.met is None else "yes" if row.met else "**no**"
        lines.append(f"| {row.case} | {_time(row.ours)} | {_time(row.theirs)} | {row.figure} | {row.target} | {met} |")
    return "\n".join(lines)


def _time(value: float) -> str:
    if value == 0:
        return ""
    return f"{value:.2f} s" if value >= 1 else f"{value * 1e3:.2f} ms"
