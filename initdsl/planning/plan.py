"""`Plan`: what rules come to on one model, as a value. Made by `resolve`, carried out by `initdsl.filling`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from initdsl.initializers import Constant, Distribution, Initializer
from initdsl.language.rules.ruleset import RuleSet
from initdsl.language.syntax.nodes import Expect, Tie
from initdsl.network.description import Network
from initdsl.network.parts import TensorInfo
from initdsl.text.diagnostic import Diagnostic, printable
from initdsl.text.frozen import FrozenDict

from .actions import Action, Clause, Kept, Reset, Value, payload_dict
from .elements import cover

__all__ = [
    "PLAN_FORMAT",
    "PLAN_VERSION",
    "Expected",
    "Plan",
    "PlanEntry",
    "PlannedTie",
    "distinct_actions",
    "tensors_by_first",
    "totals",
]


PLAN_FORMAT = "initdsl-plan"


PLAN_VERSION = 1


# an index in a label: `[0]`, `["seg-1"]`
LABEL_INDEX = re.compile(r'\[(?:(\d+)|"([^"]*)")\]')


class PlanEntry(NamedTuple):
    """What happens to one tensor: a base (or none) and edits on top, in file order.

    `aliases` are its names in `named_parameters()`, several where the tensor is shared; `label` is the first as a rule
    file writes it: `net[0].weight`. Of a sharded tensor `part` is what this rank holds, as one indexes it: `[0:4,0:8]`.
    """

    tensor: TensorInfo
    aliases: tuple[str, ...]
    label: str
    base: Action | None = None
    edits: tuple[Action, ...] = ()
    part: str = ""

    @property
    def name(self) -> str:
        """The name of `named_parameters()`."""
        return self.aliases[0]

    @property
    def names(self) -> list[str]:
        """All names of a shared tensor, that of `named_parameters()` first."""
        return list(self.aliases)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.tensor.shape

    @property
    def dtype(self) -> str:
        return self.tensor.dtype

    @property
    def numel(self) -> int:
        return self.tensor.numel

    @property
    def actions(self) -> tuple[Action, ...]:
        """The base and the edits, in their order."""
        return self.edits if self.base is None else (self.base, *self.edits)

    def module_of(self, action: Action) -> int:
        """Return the module in which the rule of one of its actions selects it."""
        return action.module_in(self.tensor)

    @property
    def status(self) -> str:
        """`set`, `kept`, `default`, `partial` (only slices or edits) or `uncovered`."""
        if self.base is None:
            if not self.edits:
                return "uncovered"
            return "set" if self._is_set_by_edits() else "partial"
        if isinstance(self.base.payload, Kept):
            return "kept" if not self.edits else "set"
        return "default" if isinstance(self.base.payload, Reset) and not self.edits else "set"

    def _is_set_by_edits(self) -> bool:
        """Return whether edits set all elements, and none takes a value that was there before."""
        setting: list[Action] = []
        for action in self.edits:
            if not action.builds_on_values:
                setting.append(action)
            elif action.reads_itself and not cover(setting, self.shape):
                return False
        return cover(setting, self.shape)

    @property
    def keeps(self) -> bool:
        """Whether the tensor keeps the values it has."""
        return not self.edits and (self.base is None or self.base.keeps)

    @property
    def adjusts(self) -> bool:
        """Whether its draw goes on with a sample, once all else is filled."""
        return self.base is not None and self.base.adjusts

    @property
    def draws(self) -> bool:
        """Whether random numbers are taken, the module's own default left aside."""
        return any(action.draws for action in self.actions)

    @property
    def reads(self) -> tuple[int, ...]:
        """The tensors whose values are taken, by their numbers."""
        if not self.edits:
            return () if self.base is None else self.base.reads
        return tuple(sorted({tensor for action in self.actions for tensor in action.reads}))

    @property
    def statements(self) -> list[tuple[str, str]]:
        """`(text, file:line)` of every statement that makes it, in order."""
        return [(clause.text, clause.location) for clause in dict.fromkeys(a.clause for a in self.actions)]

    @property
    def effect(self) -> str:
        """What is done, in short: `~ uniform(-10, 10); *= abs(weight) >= 5`."""
        effects: dict[int, str] = {}
        for action in self.actions:
            effects.setdefault(action.clause.number, action.effect)
        return "; ".join(effects.values())

    @property
    def distribution(self) -> Distribution | None:
        """What its elements follow, where one distribution says it all."""
        if self.base is None or self.edits:
            return None
        payload = self.base.payload
        if isinstance(payload, Value):
            return Constant(float(payload.value))
        return payload if isinstance(payload, Distribution) else None

    def to_dict(self) -> dict[str, Any]:
        """Return the entry as JSON-ready values."""
        values = [payload_dict(a.payload) for a in self.actions]
        return {
            "name": self.name,
            "label": self.label,
            "names": self.names,
            "shape": list(self.shape),
            "dtype": self.dtype,
            "numel": self.numel,
            "kind": self.tensor.kind,
            "status": self.status,
            "effect": self.effect,
            "values": [v for i, v in enumerate(values) if v is not None and v not in values[:i]],
            "statements": [{"text": text, "location": place} for text, place in self.statements],
            **({"part": self.part} if self.part else {}),
        }

    def __str__(self) -> str:
        return printable(f"Init {self.label} {list(self.shape)} {self.effect or '(as it was)'}")

    def __repr__(self) -> str:
        return printable(f"<PlanEntry: {self.label} {list(self.shape)} {self.effect or self.status}>")


@dataclass(frozen=True, slots=True)
class PlannedTie:
    """Tensors that become one object: the one numbered `source`, under all the `names` of the `others`."""

    rule: Tie
    source: int
    others: tuple[int, ...]
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Expected:
    """What is to hold of a tensor's values once all is filled; `bounds` are the numbers of an `expect`."""

    rule: Expect
    tensor: int
    bounds: tuple[float, ...]


@dataclass(frozen=True, repr=False)
class Plan:
    """What the rules come to on a model, decided to the last argument: a value, with nothing done yet.

    `entries` has every parameter (and every buffer a rule writes to) in the order of `named_parameters()`; `order` is
    the order of the writes. `resets` are modules whose own `reset_parameters` runs, each with the tensors it may set.
    `tied_to` says of a tensor that a tie makes another's which that is, by their numbers. `hits` and `selected` count by
    clause: the tensors it has a say in, and those it selects. `warnings` are rules that select nothing and may; `notes`
    what is worth knowing; `remarks` rules that later ones replace everywhere, and draws over values that were loaded or are
    frozen. `initializers` are those that rules call and initdsl doesn't bring; `files` the files that
    were looked into. Of a stage of a pipeline `network` is the whole one, `whole` the plan of it, and entries, writes, resets
    and ties are those of the stage.
    """

    rules: RuleSet
    network: Network
    entries: tuple[PlanEntry, ...]
    order: tuple[PlanEntry, ...]
    resets: tuple[tuple[int, tuple[int, ...]], ...]
    ties: tuple[PlannedTie, ...]
    clauses: tuple[Clause, ...]
    hits: tuple[int, ...]
    selected: tuple[int, ...]
    warnings: tuple[Diagnostic, ...]
    notes: tuple[Diagnostic, ...]
    tied_to: FrozenDict[int, int]
    expected: tuple[Expected, ...] = ()
    remarks: tuple[Diagnostic, ...] = ()
    seed: int | None = None
    variables: FrozenDict[str, Any] = FrozenDict()
    initializers: FrozenDict[str, Initializer] = FrozenDict()
    files: tuple[str, ...] = ()
    whole: Plan | None = None

    @property
    def tied(self) -> list[tuple[str, ...]]:
        """The names of every tensor that ties make one."""
        groups: dict[int, dict[str, None]] = {}
        for tie in self.ties:
            first = self.tied_to.get(tie.source, tie.source)
            groups.setdefault(first, {}).update(dict.fromkeys(tie.names))
        return [tuple(names) for names in groups.values()]

    @property
    def uncovered(self) -> list[PlanEntry]:
        """Parameters that no rule reaches; they keep the values they have."""
        return [e for e in self.entries if e.base is None and not e.edits and e.tensor.kind != "buffer"]

    @property
    def partial(self) -> list[PlanEntry]:
        """Parameters of which only slices are set or which are only edited."""
        return [e for e in self.entries if e.status == "partial" and e.tensor.kind != "buffer"]

    @property
    def unmatched(self) -> list[str]:
        """The statements that select nothing, as written."""
        return [d.source[d.span] if d.source and d.span else d.message for d in self.warnings]

    @property
    def adjusted(self) -> list[PlanEntry]:
        """Tensors that are adjusted to what their layers put out on a sample, once all are filled."""
        return [e for e in self.order if e.adjusts] if any(a.adjusts for a in self.actions) else []

    @property
    def shadowed(self) -> list[Clause]:
        """The clauses that select tensors and fill none: later rules have the last word on all of them."""
        return [c for c in self.clauses if self.selected[c.number] and not self.hits[c.number]]

    @property
    def findings(self) -> tuple[Diagnostic, ...]:
        """All that is said of rules that can be carried out: warnings, remarks and notes."""
        return (*self.warnings, *self.remarks, *self.notes)

    @cached_property
    def actions(self) -> list[Action]:
        """The actions of all entries, those that tensors share once."""
        return distinct_actions(self.order)

    @cached_property
    def by_name(self) -> dict[str, PlanEntry]:
        """Entries by every name they have, labels included."""
        entries: dict[str, PlanEntry] = {}
        for entry in self.entries:
            for name in (*entry.aliases, entry.label):
                entries.setdefault(name, entry)
        return entries

    def entry_named(self, name: str) -> PlanEntry | None:
        """Return what happens to a tensor, by any of its names or its label; None where there is no such name."""
        entry = self.by_name.get(name)
        dotted = LABEL_INDEX.sub(r".\1\2", name)[len("net.") :] if name.startswith(("net.", "net[")) else name
        if entry is None and (tensor := self.network.tensor_named(dotted)) is not None:
            index = self.tied_to.get(tensor.index, tensor.index)
            return next((entry for entry in self.entries if entry.tensor.index == index), None)
        return entry

    def names_of(self, tensor: int) -> list[str]:
        """Return every name of a tensor, those of tensors that ties make it included, in the order of `named_parameters()`."""
        network = self.network
        members = sorted([tensor, *tensors_by_first(self.tied_to).get(tensor, ())])
        return list(dict.fromkeys(name for i in members for name in network.names(network.tensors[i])))

    def __getitem__(self, name: str) -> PlanEntry:
        entry = self.entry_named(name)
        if entry is None:
            raise KeyError(name)
        return entry

    def __iter__(self) -> Iterator[PlanEntry]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __hash__(self) -> int:
        return hash((self.rules, self.network, self.seed, tuple(entry.effect for entry in self.entries)))

    def __copy__(self) -> Plan:
        return self  # a value: nothing can change it

    def __deepcopy__(self, memo: object) -> Plan:
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("actions", "by_name")}

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as JSON-ready values, versioned; `initdsl apply` carries them out."""
        return {
            "format": PLAN_FORMAT,
            "version": PLAN_VERSION,
            "seed": self.seed,
            "network": self.network.fingerprint(),
            "rules": {"root": self.rules.root, "sources": self.rules.sources},
            "vars": dict(self.variables),
            "entries": [entry.to_dict() for entry in self.entries],
            "ties": [list(names) for names in self.tied],
            "unmatched": [d.to_dict() for d in self.warnings],
            "remarks": [d.to_dict() for d in self.remarks],
            "notes": [d.to_dict() for d in self.notes],
            "totals": totals(self.entries),
        }


def distinct_actions(entries: Iterable[PlanEntry]) -> list[Action]:
    """Return the actions of entries, those that tensors share once."""
    actions: dict[int, Action] = {}
    for entry in entries:
        if entry.base is not None:
            actions[id(entry.base)] = entry.base
        for action in entry.edits:
            actions[id(action)] = action
    return list(actions.values())


def tensors_by_first(tied_to: Mapping[int, int]) -> dict[int, list[int]]:
    """Return the tensors that ties give to another one, by the number of that one."""
    groups: dict[int, list[int]] = {}
    for index, first in tied_to.items():
        if index != first:
            groups.setdefault(first, []).append(index)
    return groups


def totals(entries: Iterable[PlanEntry]) -> dict[str, dict[str, int]]:
    """Count tensors and elements by what happens to them."""
    by_status: dict[str, dict[str, int]] = {}
    for entry in entries:
        count = by_status.setdefault(entry.status, {"tensors": 0, "elements": 0})
        count["tensors"] += 1
        count["elements"] += entry.numel
    return by_status
