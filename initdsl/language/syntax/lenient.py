"""Any text read unit by unit, however wrong it is, and after a change of it read again where it has changed."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from initdsl.text.source import Source

from .state import DEFAULT_LIMITS, Limits, TooDeep
from .units import NEVER_FOUND, ParseCache, Unit, is_behind_blank, next_start, units

__all__ = ["LenientCache", "Splice", "lenient_units", "reread"]


def lenient_units(source: Source, cache: ParseCache, limits: Limits = DEFAULT_LIMITS) -> Iterator[Unit]:
    """Yield the units of any text, as long and as wrong as it may be.

    What is nested too deep fails to the end of its line; after as many mistakes as `limits.errors` every line does,
    so that it takes time linear in the text.
    """
    text = source.text
    cache.begin(source.name, limits)
    at = depth = mistakes = 0
    while mistakes < limits.errors:
        try:
            for unit in units(source, limits, cache, at, depth):
                at, depth, mistakes = unit.end, depth + unit.step, mistakes + unit.failed
                yield unit
                if mistakes >= limits.errors:
                    break
            else:
                return
        except TooDeep:
            mistakes += 1
            unit = _failed_line(text, at)
            at = unit.end
            yield unit
    while (unit := _failed_line(text, at)).start < len(text):
        at = unit.end
        yield unit


def _failed_line(text: str, at: int) -> Unit:
    """Return what follows an offset up to the end of its line as a unit that failed."""
    start = next_start(text, at)
    end = text.find("\n", start)
    end = len(text) if end < 0 else end
    return Unit(start, end, text[start:end], False, None, 0, True, NEVER_FOUND, [], ())


# ---- a text that is cut anew after every change of it


@dataclass
class LenientCache:
    """The units of the text that was cut last, for `reread`: `depths` has for each how many blocks are open before it.

    `ahead` has what was read of the text before it was cut. `failures` counts the units that failed; it is -1 where a
    limit was hit, so that how a unit was read depends on all before it. Not to be shared between threads.
    """

    text: str = ""
    units: list[Unit] = field(default_factory=list)
    depths: list[int] = field(default_factory=list)
    failures: int = 0
    ahead: ParseCache = field(default_factory=ParseCache)


class Splice(NamedTuple):
    """How the units of a text differ from those of the text before.

    In place of those from number `first` up to, not with, number `behind` there are those of `units`; the ones behind
    lie `by` characters further on.
    """

    first: int
    behind: int
    units: list[Unit]
    by: int


def reread(text: str, cache: LenientCache) -> Splice:
    """Return how the units of any text differ from those of the text before, which `cache` holds.

    The cache holds the text afterwards, its units being those of `lenient_units`.
    """
    splice = _spliced(text, cache) or _read_whole(text, cache)
    first, behind, fresh, by = splice
    if by:
        for unit in cache.units[behind:]:
            unit.move(unit.start + by)
    depth = cache.depths[first] if first < len(cache.depths) else _depth_at_end(cache)
    depths = []
    for unit in fresh:
        depths.append(depth)
        depth += unit.step
    cache.text, cache.units[first:behind], cache.depths[first:behind] = text, fresh, depths
    return splice


def _depth_at_end(cache: LenientCache) -> int:
    return cache.depths[-1] + cache.units[-1].step if cache.units else 0


def _read_whole(text: str, cache: LenientCache) -> Splice:
    """Read all of a text unit by unit, each anew that was not in the text before."""
    ahead = _remembered(cache, 0, len(cache.units)) if cache.units else cache.ahead
    fresh = list(lenient_units(Source("", text), ahead))
    cache.ahead = ParseCache()
    failures = sum(unit.failed for unit in fresh)
    limited = failures >= DEFAULT_LIMITS.errors or any(unit.nesting == NEVER_FOUND for unit in fresh)
    cache.failures = -1 if limited else failures
    return Splice(0, len(cache.units), fresh, 0)


def _spliced(text: str, cache: LenientCache) -> Splice | None:
    """Read what has changed of a text; `None` where all of it must be read."""
    old, before = cache.units, cache.text
    if not old or cache.failures < 0:
        return None
    start = _common_start(before, text)
    by = len(text) - len(before)
    changed = len(before) - _common_end(before, text, start)
    first = next((n for n, unit in enumerate(old) if unit.last or unit.start + len(unit.text) > start), len(old))
    behind = bisect_left(old, changed, first, key=lambda unit: unit.start)
    last = old[first - 1].end if first else 0
    depth = cache.depths[first] if first < len(old) else _depth_at_end(cache)
    remembered = _remembered(cache, first, behind)
    remembered.begin("", DEFAULT_LIMITS)
    reading = units(Source("", text), DEFAULT_LIMITS, remembered, last, depth)
    fresh: list[Unit] = []
    while (at := next_start(text, last)) < len(text):
        behind = bisect_left(old, at - by, behind, key=lambda unit: unit.start)
        if (
            behind < len(old)
            and old[behind].start == at - by
            and is_behind_blank(before, at - by) == is_behind_blank(text, at)
        ):
            if depth != cache.depths[behind]:
                return None
            break
        try:
            unit = next(reading)
        except TooDeep:
            return None
        fresh.append(unit)
        last, depth = unit.end, depth + unit.step
    else:
        behind = len(old)
    failures = cache.failures + sum(unit.failed for unit in fresh) - sum(unit.failed for unit in old[first:behind])
    if failures >= DEFAULT_LIMITS.errors:
        return None
    cache.failures = failures
    return Splice(first, behind, fresh, by)


def _remembered(cache: LenientCache, first: int, behind: int) -> ParseCache:
    """Return copies of some units as those of a text that is to be parsed anew."""
    remembered = ParseCache()
    remembered.begin("", DEFAULT_LIMITS)
    for unit, depth in zip(cache.units[first:behind], cache.depths[first:behind], strict=True):
        remembered.keep(replace(unit), cache.text, depth)
    return remembered


def _common_start(one: str, other: str) -> int:
    """Return how many characters two texts begin with alike."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if one.startswith(other[low:middle], low) else (low, middle - 1)
    return low


def _common_end(one: str, other: str, start: int) -> int:
    """Return how many characters two texts end with alike, those up to `start` aside."""
    low, high = 0, min(len(one), len(other)) - start
    while low < high:
        middle = (low + high + 1) // 2
        alike = one.endswith(other[len(other) - middle : len(other) - low], 0, len(one) - low)
        low, high = (middle, high) if alike else (low, middle - 1)
    return low
