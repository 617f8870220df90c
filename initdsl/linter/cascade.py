"""Which statements of a file are replaced by later ones."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

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

from .statements import Placed, selectors_around
from .targets import Target, covers, is_piece, whole_parameter

__all__ = ["Replaced", "replaced_statements"]


# general patterns are compared with every statement: beyond so many pairs only the plain ones are
MOST_PAIRS = 300_000


@dataclass(frozen=True, slots=True)
class Replaced:
    """A statement that does nothing, as `later` sets all it does: `Linear.bias = 0` above `*.bias = 1`.

    `same` says that the two are one rule written twice. `later` may stand in a file that this one uses.
    """

    earlier: Placed
    later: Placed
    same: bool


def replaced_statements(statements: tuple[Placed, ...]) -> Iterator[Replaced]:
    """Yield the statements of the file itself that a later one replaces; `statements` are in the order of the cascade."""
    replacing = _index(statements)
    readers = [placed.order for placed in statements if _reads_tensors(placed)]
    for placed in statements:
        if not placed.here or not placed.targets or not isinstance(placed.rule, Assign | Keep | Default):
            continue
        later = _after_all(replacing, placed)
        # a piece is there until it is set again, for what reads it in between; not if the whole is set meanwhile
        if later is not None and not later.sets_base:
            if bisect_right(readers, placed.order) < bisect_left(readers, later.order):
                later = _after_all(replacing, placed, bases_only=True)
        if later is not None:
            yield Replaced(placed, later, len(placed.targets) == 1 and _is_same(placed, later))


def _reads_tensors(placed: Placed) -> bool:
    """Tell whether an edit may read what is in tensors: by names that no `let` declares, and by paths."""
    if not isinstance(placed.rule, Assign) or not placed.on_top:
        return False
    return any(
        isinstance(node, Path) or (isinstance(node, Name) and placed.lookup(node.name) is None)
        for node in walk(placed.rule.value)
    )


def _is_same(a: Placed, b: Placed) -> bool:
    if a.targets != b.targets or type(a.rule) is not type(b.rule):
        return False
    if isinstance(a.rule, Assign) and isinstance(b.rule, Assign):
        alike = a.rule.operator == b.rule.operator and a.rule.value == b.rule.value
        return alike and _mean_the_same(a, b, [a.rule.value])
    return True


def _mean_the_same(a: Placed, b: Placed, nodes: Iterable[Node]) -> bool:
    """Tell whether the `let` names in nodes, and those that these lead to, are the same ones to both statements."""
    names = [node.name for root in nodes for node in walk(root) if isinstance(node, Name)]
    seen: set[str] = set()
    while names:
        name = names.pop()
        let = a.lookup(name)
        if let is not b.lookup(name):
            return False
        if let is not None and name not in seen:
            seen.add(name)
            names += [node.name for node in walk(let.value) if isinstance(node, Name)]
    return True


# ---- statements found by what they select


@dataclass(frozen=True, slots=True)
class _Entry:
    """A statement that replaces earlier ones on `target`, one of the targets it selects."""

    target: Target
    placed: Placed


@dataclass(frozen=True, slots=True)
class _OfClass:
    """A place in the index: `Linear.weight`, in a module or not, as in `Target.within`."""

    class_name: str
    parameter: str | None
    within: frozenset[tuple[bool, frozenset[Target]]]


@dataclass(frozen=True, slots=True)
class _General:
    """A place in the index for globs and paths, `None` where the first step, or the parameter, is no plain name."""

    first_step: str | None
    parameter: str | None


@dataclass(frozen=True, slots=True)
class _Index:
    """The statements that may replace others, in the order of the cascade: by target, and by what they have in common
    with the targets that theirs may cover."""

    exact: Mapping[Target, Sequence[_Entry]]
    covering: Mapping[_OfClass | _General, Sequence[_Entry]]


def _index(statements: tuple[Placed, ...]) -> _Index:
    exact: dict[Target, list[_Entry]] = {}
    covering: dict[_OfClass | _General, list[_Entry]] = {}
    general = 0
    for placed in statements:
        for target in _replaced_targets(placed):
            entry = _Entry(target, placed)
            exact.setdefault(target, []).append(entry)
            if not placed.sets_base or isinstance(target.base, Regex) or is_piece(target.base):
                continue
            if _is_general(target):
                general += 1
                if general * len(statements) <= MOST_PAIRS:
                    covering.setdefault(_General(_first_step(target), target.name), []).append(entry)
            elif target.class_name is not None:
                place = _OfClass(target.class_name, target.name, target.within)
                covering.setdefault(place, []).append(entry)
    return _Index(exact, covering)


def _replaced_targets(placed: Placed) -> tuple[Target, ...]:
    """Return the targets of which a statement discards what is there."""
    rule = placed.rule
    if not isinstance(rule, Assign | Keep | Default) or placed.targets is None:
        return ()
    is_assignment = isinstance(rule, Assign) and rule.operator in ("~", "=") and not placed.reads_target
    return placed.targets if placed.sets_base or is_assignment else ()


def _after_all(index: _Index, placed: Placed, bases_only: bool = False) -> Placed | None:
    """Return the last of the statements below `placed` that together replace all it does."""
    last = None
    for target in placed.targets or ():
        later = _after(index, placed, target, bases_only)
        if later is None:
            return None
        last = later if last is None or later.order > last.order else last
    return last


def _after(index: _Index, placed: Placed, target: Target, bases_only: bool) -> Placed | None:
    """Return the last statement below `placed` that replaces what it does to `target`; or that sets the whole of it."""
    exact = [entry for entry in index.exact.get(target, ()) if entry.placed.sets_base or not bases_only]
    last = _last(exact, placed, placed.order, lambda _: True)
    whole = whole_parameter(target)
    if whole is None:
        return last
    places: set[_OfClass | _General] = {
        _General(first, name) for first in (_first_step(whole), None) for name in (whole.name, None)
    }
    if whole.class_name is not None:
        places |= {_OfClass(whole.class_name, whole.name, within) for within in (whole.within, frozenset())}
    candidates = [index.covering.get(place, ()) for place in places]
    if whole != target:
        candidates.append([entry for entry in index.exact.get(whole, ()) if entry.placed.sets_base])
    for entries in candidates:
        above = placed.order if last is None else last.order
        last = _last(entries, placed, above, lambda other: covers(other, whole)) or last
    return last


def _last(entries: Sequence[_Entry], placed: Placed, above: int, fits: Callable[[Target], bool]) -> Placed | None:
    """Return the last of the entries that stands below order `above`, fits, and selects by the names `placed` sees."""
    for entry in reversed(entries):
        if entry.placed.order <= above:
            return None
        if fits(entry.target) and _mean_the_same(entry.placed, placed, selectors_around(entry.placed)):
            return entry.placed
    return None


def _first_step(target: Target) -> str | None:
    """Return the first step of a path from the root where it is a plain name."""
    step = target.steps[0] if target.root == "net" and target.steps else None
    return step.name if isinstance(step, Step) and "*" not in step.name else None


def _is_general(target: Target) -> bool:
    """Tell whether a path may cover ones of other names: a glob, any index, any depth."""
    if isinstance(target.root, ClassPattern):
        return "*" in target.root.name or target.name is None or len(target.steps) != 1
    return any(
        "*" in step.name if isinstance(step, Step) else any(not isinstance(i, Number | String) for i in step.items)
        for step in target.steps
    )
