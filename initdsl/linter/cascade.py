"""Which statements of a file are replaced by later ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..nodes import Assign, ClassPattern, Default, Keep, Number, Path, Regex, Step, String
from .file import File, Placed
from .targets import Target, covers, is_piece, whole

__all__ = ["replaced"]

Entry = tuple[int, Target, Placed]

# general patterns are compared with every statement: beyond so many pairs only the plain ones are
MOST_PAIRS = 1_000_000


def replaced(file: File) -> tuple[tuple[Placed, Placed, bool], ...]:
    """Statements of the file that a later one replaces, with that one, and whether the two say the same."""
    cache = file.__dict__.get("_replaced")
    if cache is None:
        cache = file.__dict__["_replaced"] = tuple(_replaced(file))
    found: tuple[tuple[Placed, Placed, bool], ...] = cache
    return found


def _replaced(file: File) -> Iterator[tuple[Placed, Placed, bool]]:
    candidates = _Candidates(file.everything)
    for placed in file.statements:
        if placed.targets and isinstance(placed.rule, Assign | Keep | Default):
            winners = [candidates.after(placed, target) for target in placed.targets]
            if all(winner is not None for winner in winners):
                last = max((w for w in winners if w is not None), key=lambda w: w.order)
                yield placed, last, len(winners) == 1 and _same(placed, last)


def _same(a: Placed, b: Placed) -> bool:
    if a.targets != b.targets or type(a.rule) is not type(b.rule):
        return False
    if isinstance(a.rule, Assign) and isinstance(b.rule, Assign):
        return a.rule.operator == b.rule.operator and a.rule.value == b.rule.value
    return True


class _Candidates:
    """The statements that may replace others, found by what they select."""

    def __init__(self, statements: tuple[Placed, ...]):
        self.exact: dict[Target, list[Entry]] = {}
        self.by_class: dict[tuple[Any, ...], list[Entry]] = {}
        self.general: list[Entry] = []
        for placed in statements:
            rule = placed.rule
            if not isinstance(rule, Assign | Keep | Default) or placed.targets is None:
                continue
            piece = isinstance(rule, Assign) and rule.operator in ("~", "=") and not placed.reads_target
            if not placed.sets_base and not piece:
                continue
            for target in placed.targets:
                entry = (placed.order, target, placed)
                self.exact.setdefault(target, []).append(entry)
                if not placed.sets_base or isinstance(target.base, Regex) or is_piece(target.base):
                    continue
                if _is_general(target):
                    self.general.append(entry)
                elif target.class_name is not None:
                    self.by_class.setdefault((target.class_name, target.name, target.within), []).append(entry)
        if len(self.general) * len(statements) > MOST_PAIRS:
            self.general.clear()

    def after(self, placed: Placed, target: Target) -> Placed | None:
        """The last statement below `placed` that replaces what it does to `target`."""
        found = [*self.exact.get(target, ()), *self.general]
        bare = whole(target)
        for form in {target, bare} if bare is not None else {target}:
            if form.class_name is not None:
                found += self.by_class.get((form.class_name, form.name, form.within), ())
                if form.within:
                    found += self.by_class.get((form.class_name, form.name, frozenset()), ())
            if form != target:
                found += [entry for entry in self.exact.get(form, ()) if entry[2].sets_base]
        best: Placed | None = None
        for order, other, statement in found:
            if order <= placed.order or (best is not None and order < best.order):
                continue
            if other == target or (bare is not None and statement.sets_base and covers(other, bare)):
                best = statement
        return best


def _is_general(target: Target) -> bool:
    """Whether a target may cover ones of other names: a glob, any index, any depth."""
    base = target.base
    assert isinstance(base, Path)
    if isinstance(base.root, ClassPattern):
        return "*" in base.root.name or target.name is None or len(base.steps) != 1
    return any(
        "*" in step.name if isinstance(step, Step) else any(not isinstance(i, Number | String) for i in step.items)
        for step in base.steps
    )
