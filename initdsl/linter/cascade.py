"""Which statements of a file are replaced by later ones."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from initdsl.language.syntax.nodes import (
    Assign,
    ClassPattern,
    Default,
    Keep,
    Name,
    Node,
    Number,
    Path,
    Regex,
    Step,
    String,
)
from initdsl.language.syntax.walk import walk

from .file import File, Placed
from .targets import Target, covers, is_piece, whole

__all__ = ["replaced"]


Entry = tuple[int, Target, Placed]


# general patterns are compared with every statement: beyond so many pairs only the plain ones are
MOST_PAIRS = 300_000


def replaced(file: File) -> tuple[tuple[Placed, Placed, bool], ...]:
    """Statements of the file that a later one replaces, with that one, and whether the two say the same."""
    cache = file.__dict__.get("_replaced")
    if cache is None:
        cache = file.__dict__["_replaced"] = tuple(_replaced(file))
    found: tuple[tuple[Placed, Placed, bool], ...] = cache
    return found


def _replaced(file: File) -> Iterator[tuple[Placed, Placed, bool]]:
    candidates = _Candidates(file.everything)
    readers = [placed.order for placed in file.everything if _reads_tensors(placed)]
    for placed in file.statements:
        if placed.targets and isinstance(placed.rule, Assign | Keep | Default):
            last = candidates.after_all(placed)
            # a piece is there until it is set again, for what reads it in between; not if the whole is set meanwhile
            if last is not None and not last.sets_base:
                if bisect_right(readers, placed.order) < bisect_left(readers, last.order):
                    last = candidates.after_all(placed, bases=True)
            if last is not None:
                yield placed, last, len(placed.targets) == 1 and _same(placed, last)


def _reads_alike(a: Placed, b: Placed, nodes: Iterable[Node]) -> bool:
    """Whether the `let` names in nodes, and those that these lead to, are the same ones to both statements."""
    names = [node.name for root in nodes for node in walk(root) if isinstance(node, Name)]
    seen: set[str] = set()
    while names:
        name = names.pop()
        found = a.lookup(name)
        if found is not b.lookup(name):
            return False
        if found is not None and name not in seen:
            seen.add(name)
            names += [node.name for node in walk(found.value) if isinstance(node, Name)]
    return True


def _selectors(placed: Placed) -> list[Node]:
    """The selectors that say what a statement is about: its own, and those of the blocks around it."""
    own = getattr(placed.rule, "targets", None)
    return [block.targets for block in placed.blocks] + ([] if own is None else [own])


def _reads_tensors(placed: Placed) -> bool:
    """Whether a statement may read what is in tensors: names that no `let` declares, and paths."""
    if not isinstance(placed.rule, Assign) or not placed.on_top:
        return False
    return any(
        isinstance(node, Path) or (isinstance(node, Name) and placed.lookup(node.name) is None)
        for node in walk(placed.rule.value)
    )


def _same(a: Placed, b: Placed) -> bool:
    if a.targets != b.targets or type(a.rule) is not type(b.rule):
        return False
    if isinstance(a.rule, Assign) and isinstance(b.rule, Assign):
        alike = a.rule.operator == b.rule.operator and a.rule.value == b.rule.value
        return alike and _reads_alike(a, b, [a.rule.value])
    return True


class _Candidates:
    """The statements that may replace others, found by what they select."""

    def __init__(self, statements: tuple[Placed, ...]):
        self.exact: dict[Target, list[Entry]] = {}
        self.alike: dict[tuple[Any, ...], list[Entry]] = {}
        general = 0
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
                    general += 1
                    if general * len(statements) > MOST_PAIRS:
                        continue
                    self.alike.setdefault((_first(target), target.name), []).append(entry)
                elif target.class_name is not None:
                    self.alike.setdefault((target.class_name, target.name, target.within), []).append(entry)

    def after_all(self, placed: Placed, bases: bool = False) -> Placed | None:
        """The last of the statements below `placed` that together replace all it does."""
        found = [self.after(placed, target, bases) for target in placed.targets or ()]
        return max((w for w in found if w is not None), key=lambda w: w.order) if all(found) else None

    def after(self, placed: Placed, target: Target, bases: bool) -> Placed | None:
        """The last statement below `placed` that replaces what it does to `target`; with `bases`, by setting the whole."""
        bare = whole(target)
        exact = self.exact.get(target, [])
        if bases:
            exact = [entry for entry in exact if entry[2].sets_base]
        best = _last(exact, placed, placed.order, lambda _: True)
        if bare is None:
            return best
        keys = {(first, name) for first in (_first(bare), None) for name in (bare.name, None)}
        if bare.class_name is not None:
            keys |= {(bare.class_name, bare.name, bare.within), (bare.class_name, bare.name, frozenset())}  # type: ignore[arg-type]
        places = [self.alike.get(key, ()) for key in keys]
        if bare != target:
            places.append([entry for entry in self.exact.get(bare, ()) if entry[2].sets_base])
        for entries in places:
            above = placed.order if best is None else best.order
            best = _last(entries, placed, above, lambda other: covers(other, bare)) or best
        return best


def _last(entries: Sequence[Entry], placed: Placed, above: int, fits: Callable[[Target], bool]) -> Placed | None:
    """The last of entries in order that stands below order `above`, fits, and selects by the names `placed` sees."""
    for order, other, statement in reversed(entries):
        if order <= above:
            return None
        if fits(other) and _reads_alike(statement, placed, _selectors(statement)):
            return statement
    return None


def _first(target: Target) -> str | None:
    """The first step of a path from the root where it is a plain name."""
    base = target.base
    if not isinstance(base, Path) or base.root != "net" or not base.steps:
        return None
    step = base.steps[0]
    return step.name if isinstance(step, Step) and "*" not in step.name else None


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
