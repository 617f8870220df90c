"""`Diff`: what one plan does otherwise than another, as a value."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from initdsl.network.garbage import MANY, no_collection
from initdsl.planning.plan import Plan, PlanEntry

from .alike import kind_of_change
from .facts import Core, Made, Said, cores_of, made

__all__ = ["DIFF_FORMAT", "DIFF_VERSION", "Change", "Diff", "Growth", "TieChange", "compare"]


DIFF_FORMAT = "initdsl-diff"


DIFF_VERSION = 1


@dataclass(frozen=True, slots=True)
class Change:
    """One tensor before and after; `before` is None where it is new, `after` where it is gone."""

    before: Made | None
    after: Made | None

    @property
    def name(self) -> str:
        """Its name after the change, or before it where it is gone."""
        one = self.after or self.before
        assert one is not None
        return one.name

    @property
    def ratio(self) -> float | None:
        """The standard deviation after to that before; None where one is not known, or 0."""
        if self.before is None or self.after is None or not self.before.std or self.after.std is None:
            return None
        return self.after.std / self.before.std

    def to_dict(self) -> dict[str, Any]:
        """Return the change as JSON-ready values."""
        return {"name": self.name, "before": _side(self.before), "after": _side(self.after), "ratio": self.ratio}


def _side(side: Made | None) -> dict[str, Any] | None:
    if side is None:
        return None
    return {
        "name": side.name,
        "shape": list(side.shape),
        "dtype": side.dtype,
        "status": side.status,
        "effect": side.text,
        "std": side.std,
        "statements": [{"text": text, "location": location} for text, location in side.statements],
    }


@dataclass(frozen=True, slots=True)
class TieChange:
    """Names of one tensor that were not (`tied`), or are no longer, names of one."""

    names: tuple[str, ...]
    tied: bool

    def to_dict(self) -> dict[str, Any]:
        """Return the change as JSON-ready values."""
        return {"names": list(self.names), "tied": self.tied}


@dataclass(frozen=True, slots=True)
class Growth:
    """By what factors signals grow over the depth of a model: `Growth(12, 0.95, 0.84)`; nan where that is unknown.

    `layers` are those along which depth is counted, `activations` go from the first to the last, `gradients` back.
    """

    layers: int
    activations: float
    gradients: float

    def to_dict(self) -> dict[str, Any]:
        """Return the factors as JSON-ready values; numbers that JSON has no word for as text."""
        factors = {"activations": self.activations, "gradients": self.gradients}
        return {"layers": self.layers, **{k: v if math.isfinite(v) else str(v) for k, v in factors.items()}}


@dataclass(frozen=True, slots=True)
class Diff:
    """What a plan does otherwise than another, as a value; `initdsl.Diff` says what is in it."""

    drawn: tuple[Change, ...] = ()
    set: tuple[Change, ...] = ()
    covered: tuple[Change, ...] = ()
    uncovered: tuple[Change, ...] = ()
    reshaped: tuple[Change, ...] = ()
    derived: tuple[Change, ...] = ()
    tied: tuple[TieChange, ...] = ()
    added: tuple[Change, ...] = ()
    removed: tuple[Change, ...] = ()
    renamed: tuple[Change, ...] = ()
    moved: tuple[Change, ...] = ()
    same: int = 0
    elements: int = 0
    seeds: tuple[int | None, int | None] = (None, None)
    growth: tuple[Growth | None, Growth | None] | None = None

    def __bool__(self) -> bool:
        return any((*self.groups.values(), self.tied))

    @property
    def groups(self) -> dict[str, tuple[Change, ...]]:
        """Every kind of change to tensors, by its name; `renamed` are among `added` and `removed`."""
        names = ("drawn", "set", "covered", "uncovered", "reshaped", "derived", "added", "removed", "moved")
        return {name: getattr(self, name) for name in names}

    def to_dict(self) -> dict[str, Any]:
        """Return the diff as JSON-ready values, versioned."""
        groups = {**self.groups, "renamed": self.renamed}
        return {
            "format": DIFF_FORMAT,
            "version": DIFF_VERSION,
            "changed": bool(self),
            **{name: [change.to_dict() for change in changes] for name, changes in groups.items()},
            "tied": [change.to_dict() for change in self.tied],
            "same": {"tensors": self.same, "elements": self.elements},
            "seeds": list(self.seeds),
            "growth": None if self.growth is None else [None if one is None else one.to_dict() for one in self.growth],
        }


def compare(old: Plan, new: Plan) -> Diff:
    """Return what `new` does otherwise than `old`."""
    with no_collection(len(old.entries) + len(new.entries) >= MANY):
        return _compared(old, new)


def _compared(old: Plan, new: Plan) -> Diff:
    before, after = cores_of(old), cores_of(new)
    said: Said = {}
    shared_before, shared_after = _shared(old), _shared(new)
    # a tensor that is tied goes by another name, and is neither new nor gone
    aliases_before, aliases_after = set().union(*shared_before), set().union(*shared_after)
    kinds = _kinds(before, after)
    _follow_reads(kinds, ((entry.name, after[entry.name][1]) for entry in new.order))
    groups: dict[str, list[Change]] = defaultdict(list)
    same = elements = 0
    for name, (entry, core) in after.items():
        if name not in before and name not in aliases_before:
            groups["added"].append(Change(None, made(entry, core, said)))
            continue
        was, core_before = before.get(name, (entry, core))
        kind = kinds.get(name)
        if kind is None:
            same, elements = same + 1, elements + entry.numel
        else:
            groups[kind].append(Change(made(was, core_before, said), made(entry, core, said)))
    for name, (entry, core) in before.items():
        if name not in after and name not in aliases_after:
            groups["removed"].append(Change(made(entry, core, said), None))
    renamed = _renamed(groups["removed"], groups["added"])
    both = _all_names(old) & _all_names(new)
    tied = (*_ties(shared_before, shared_after, both, True), *_ties(shared_after, shared_before, both, False))
    changes: dict[str, Any] = {kind: tuple(found) for kind, found in groups.items()}
    return Diff(**changes, renamed=renamed, tied=tied, same=same, elements=elements, seeds=(old.seed, new.seed))


Cores = dict[str, tuple[PlanEntry, Core]]


def _kinds(before: Cores, after: Cores) -> dict[str, str | None]:
    """Return the kind of change of every tensor that both have; alike ones are compared once."""
    compared: dict[tuple[int, int], str | None] = {}
    kinds = {}
    for name, (_, core) in after.items():
        if name in before:
            was = before[name][1]
            pair = (id(was), id(core))
            if pair not in compared:
                compared[pair] = kind_of_change(was, core)
            kinds[name] = compared[pair]
    return kinds


def _follow_reads(kinds: dict[str, str | None], cores: Iterable[tuple[str, Core]]) -> None:
    """Mark what is made as before, from tensors that change: a copy of a weight that is drawn otherwise.

    `cores` come in the order of the writes, so that what is read has its kind already.
    """
    changed = {name for name, kind in kinds.items() if kind is not None}
    for name, core in cores:
        if name in changed or name not in kinds or not (core.reads or core.adjusts):
            continue
        sources = changed if core.adjusts else changed.intersection(core.reads)
        if sources:
            kinds[name] = "moved" if all(kinds[source] == "moved" for source in sources) else "derived"
            changed.add(name)


def _renamed(removed: Iterable[Change], added: Iterable[Change]) -> tuple[Change, ...]:
    """Return tensors that are perhaps the same under another name: of one shape, and made by one rule."""
    here: dict[Any, list[Made]] = defaultdict(list)
    for change in added:
        assert change.after is not None
        here[_likeness(change.after)].append(change.after)
    there: dict[Any, list[Made]] = defaultdict(list)
    for change in removed:
        assert change.before is not None
        there[_likeness(change.before)].append(change.before)
    pairs = []
    for likeness, gone in there.items():
        new = here.get(likeness, [])
        if len(new) == len(gone):  # else which is which can't be told
            pairs += [Change(a, b) for a, b in zip(gone, new, strict=True)]
    return tuple(pairs)


def _likeness(side: Made) -> Any:
    return (side.shape, side.dtype, side.kind, side.status, side.writes, side.name.rpartition(".")[2])


# the names of one tensor that has several
Names = tuple[str, ...]


def _ties(without: set[Names], having: set[Names], both: set[str], tied: bool) -> Iterator[TieChange]:
    """Yield the groups of names, of those that both models have, that share a tensor in the second plan alone."""
    for group in sorted(having - without):
        names = tuple(name for name in group if name in both)
        if len(names) > 1 and not any(set(names) <= set(other) for other in without):
            yield TieChange(names, tied)


def _shared(plan: Plan) -> set[Names]:
    """Return the names of every tensor that has several."""
    tensors = [entry.tensor.index for entry in plan.entries if len(entry.aliases) > 1 or len(entry.tensor.owners) > 1]
    tensors += [plan.tied_to.get(tie.source, tie.source) for tie in plan.ties]
    groups = (tuple(sorted(plan.names_of(tensor))) for tensor in dict.fromkeys(tensors))
    return {group for group in groups if len(group) > 1}


def _all_names(plan: Plan) -> set[str]:
    network = plan.network
    return {name for tensor in network.tensors for name in network.names(tensor)}
