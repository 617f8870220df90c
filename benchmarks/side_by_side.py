"""Timing two things in turn, so that a noisy machine is noisy for both."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Row", "compare", "table"]


@dataclass(frozen=True)
class Row:
    """One line of the table: medians in seconds, and what their ratio should be."""

    case: str
    ours: float
    theirs: float
    target: str
    ratio: float
    met: bool


def seconds(work: Callable[[], object]) -> float:
    gc.collect()
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def compare(ours: Callable[[], object], theirs: Callable[[], object], rounds: int) -> tuple[float, float, float]:
    """Medians of both and the median of their ratios, `ours / theirs`, taken in turn."""
    ours(), theirs()
    pairs = []
    for number in range(rounds):
        if number % 2:
            other, mine = seconds(theirs), seconds(ours)
        else:
            mine, other = seconds(ours), seconds(theirs)
        pairs.append((mine, other))
    ratio = statistics.median(mine / other for mine, other in pairs)
    return statistics.median(p[0] for p in pairs), statistics.median(p[1] for p in pairs), ratio


def table(rows: list[Row]) -> str:
    """The rows as a Markdown table."""
    lines = ["| case | initdsl | other | ratio | target | met |", "|---|---|---|---|---|---|"]
    for row in rows:
        other = "" if row.theirs == 0 else f"{_time(row.theirs)}"
        ratio = "" if row.theirs == 0 else f"{row.ratio:.3f}"
        lines.append(
            f"| {row.case} | {_time(row.ours)} | {other} | {ratio} | {row.target} | {'yes' if row.met else '**no**'} |"
        )
    return "\n".join(lines)


def _time(value: float) -> str:
    return f"{value:.2f} s" if value >= 1 else f"{value * 1e3:.2f} ms"
