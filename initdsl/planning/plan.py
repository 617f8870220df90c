"""A plan: what every rule set comes to on one network, as values. Made by the resolver, carried out by the executor."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING, Any

from initdsl.initializers import Distribution
from initdsl.language.expressions.shapes import extents
from initdsl.language.rules.ruleset import RuleSet
from initdsl.language.syntax.nodes import Assign, Expect
from initdsl.network.description import Live, Network, TensorInfo
from initdsl.text.diagnostic import Diagnostic, printable
from initdsl.text.source import Span

from .actions import Action, Clause, Draw, Expression, Kept, Reset, Value, payload_dict

if TYPE_CHECKING:
    from initdsl.api.report import Report

__all__ = [
    "PLAN_FORMAT",
    "PLAN_VERSION",
    "Expected",
    "Plan",
    "PlanEntry",
    "PlannedTie",
    "adjusts",
    "leaves_alone",
    "totals",
]


PLAN_FORMAT = "initdsl-plan"


PLAN_VERSION = 1


@dataclass(slots=True)
class PlanEntry:
    """What happens to one tensor: a base (or none) and edits on top, in file order."""

    plan: Plan = field(repr=False)
    tensor: TensorInfo
    base: Action | None = None
    edits: list[Action] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The name of `named_parameters()`."""
        return self.plan.first(self.tensor).name

    @property
    def names(self) -> list[str]:
        """All names of a shared tensor, this one first."""
        return self.plan.tensor_names(self.tensor)

    @property
    def label(self) -> str:
        """The tensor as a rule file writes it: `net[0].weight`."""
        return self.plan.network.label(self.plan.first(self.tensor))

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
    def actions(self) -> list[Action]:
        return [*([self.base] if self.base is not None else []), *self.edits]

    @property
    def status(self) -> str:
        """`set`, `kept`, `default`, `partial` (only slices or edits) or `uncovered`."""
        if self.base is None:
            if not self.edits:
                return "uncovered"
            return "set" if _covered(self.edits, self.tensor) else "partial"
        if isinstance(self.base.payload, Kept):
            return "kept" if not self.edits else "set"
        return "default" if isinstance(self.base.payload, Reset) and not self.edits else "set"

    @property
    def statements(self) -> list[tuple[str, str]]:
        """`(text, file:line)` of every statement that makes it, in order."""
        clauses = dict.fromkeys(a.clause for a in self.actions)
        return [(self.plan.clause_text(c), self.plan.clause_place(c)) for c in clauses]

    @property
    def effect(self) -> str:
        """What is done, in short: `~ uniform(-10, 10); *= abs(weight) >= 5`."""
        seen: dict[int, str] = {}
        for action in self.actions:
            seen.setdefault(action.clause.number, self.plan.effect(action))
        return "; ".join(seen.values())

    @property
    def distribution(self) -> Distribution | None:
        """What its elements follow, where one distribution says it all."""
        if self.base is None or self.edits:
            return None
        payload = self.base.payload
        if isinstance(payload, Value):
            from initdsl.initializers import Constant

            return Constant(float(payload.value))
        return payload if isinstance(payload, Distribution) else None

    def to_dict(self) -> dict[str, Any]:
        values = [payload_dict(a.payload) for a in self.actions]
        return {
            "name": self.name, "label": self.label, "names": self.names, "shape": list(self.shape), "dtype": self.dtype,
            "numel": self.numel, "kind": self.tensor.kind, "status": self.status, "effect": self.effect,
            "values": [v for i, v in enumerate(values) if v is not None and v not in values[:i]],
            "statements": [{"text": text, "location": place} for text, place in self.statements],
            **({"part": self.tensor.part} if self.tensor.part else {}),
        }  # fmt: skip

    def __str__(self) -> str:
        return printable(f"Init {self.label} {list(self.shape)} {self.effect or '(as it was)'}")


def adjusts(entry: PlanEntry) -> bool:
    """Whether an entry's draw goes on with a sample."""
    payload = entry.base.payload if entry.base is not None else None
    return isinstance(payload, Draw) and payload.initializer.adjust is not None


def _covered(actions: list[Action], tensor: TensorInfo) -> bool:
    """Whether slices that are set make up the whole of a tensor.

    Each dimension is cut where a slice begins or ends, and the cells of that grid are counted.
    """
    pieces = [
        a for a in actions
        if a.operator in ("=", "~") and not (isinstance(a.payload, Expression) and a.payload.reads_itself)
    ]  # fmt: skip
    views = {a.view for a in pieces}
    if not pieces or len(views) > 1:
        return False
    shape = next(iter(views)) or tensor.shape
    boxes = [extents(a.index or (), shape) for a in pieces]
    cells: list[list[int]] = []  # the first coordinate of each cell, by dimension
    for d, size in enumerate(shape):
        cuts = {0}
        for box in boxes:
            extent = box[d]
            cuts.update(extent if extent.step > 1 else (extent.start, extent.stop))
            cuts.update(x + 1 for x in (extent if extent.step > 1 else ()))
        cells.append(sorted(c for c in cuts if c < size))
    if math.prod(map(len, cells)) > 1 << 16:
        return False
    wanted = set(product(*cells))
    for box in boxes:
        wanted.difference_update(
            product(*([c for c in row if c in extent] for row, extent in zip(cells, box, strict=True)))
        )
    return not wanted


@dataclass
class PlannedTie:
    """Tensors that become one object: `source`'s, under all the names of `others`."""

    rule: Any
    source: int
    others: tuple[int, ...]
    names: tuple[str, ...]


@dataclass(slots=True)
class Expected:
    """What is to hold of a tensor's values once all is filled; `bounds` are the numbers of an `expect`."""

    rule: Expect
    tensor: int
    bounds: tuple[float, ...]


@dataclass(repr=False)
class Plan:
    """What `apply` would do, and nothing done yet.

    `entries` has every parameter (and every buffer a rule writes to) in the order of `named_parameters()`; `order` is
    the order of the writes; `warnings` are rules that select nothing and may; `notes` what is worth knowing.
    """

    rules: RuleSet
    network: Network
    entries: list[PlanEntry]
    order: list[PlanEntry]
    resets: list[tuple[int, tuple[int, ...]]]
    ties: list[PlannedTie]
    clauses: list[Clause]
    warnings: list[Diagnostic]
    notes: list[Diagnostic]
    canonical: dict[int, int]
    resolver: Any = field(repr=False)
    live: Live | None = field(default=None, repr=False)
    net: Any = field(default=None, repr=False)
    seed: int | None = None
    options: dict[str, Any] = field(default_factory=dict, repr=False)
    expected: list[Expected] = field(default_factory=list)

    # ---- looking

    @property
    def tied(self) -> list[tuple[str, ...]]:
        """The names of every tensor that ties make one."""
        groups: dict[int, dict[str, None]] = {}
        for tie in self.ties:
            canonical = self.canonical.get(tie.source, tie.source)
            groups.setdefault(canonical, {}).update(dict.fromkeys(tie.names))
        return [tuple(names) for names in groups.values()]

    @property
    def uncovered(self) -> list[PlanEntry]:
        """Parameters that no rule reaches; they keep the values they have."""
        return [e for e in self.entries if e.status == "uncovered" and e.tensor.kind != "buffer"]

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
        return [e for e in self.order if adjusts(e)]

    @cached_property
    def by_name(self) -> dict[str, PlanEntry]:
        """Entries by every name they have, labels included."""
        found: dict[str, PlanEntry] = {}
        for entry in self.entries:
            for name in (*entry.names, entry.label):
                found.setdefault(name, entry)
        return found

    def __getitem__(self, name: str) -> PlanEntry:
        return self.by_name[name]

    def __iter__(self) -> Iterator[PlanEntry]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def tensor_names(self, tensor: TensorInfo) -> list[str]:
        indices = sorted([tensor.index, *self._joined.get(tensor.index, ())])
        return list(dict.fromkeys(n for i in indices for n in self.network.names(self.network.tensors[i])))

    def first(self, tensor: TensorInfo) -> TensorInfo:
        """Of the tensors a tie makes this one, the one `named_parameters()` meets first once they are tied."""
        joined = self._joined.get(tensor.index)
        return tensor if joined is None else self.network.tensors[min(tensor.index, *joined)]

    @cached_property
    def _joined(self) -> dict[int, list[int]]:
        joined: dict[int, list[int]] = {}
        for index, canonical in self.canonical.items():
            if index != canonical:
                joined.setdefault(canonical, []).append(index)
        return joined

    def clause_text(self, clause: Clause) -> str:
        rule = clause.rule
        return " ".join(self.rules.text(rule.source, rule.span).split())

    def clause_place(self, clause: Clause) -> str:
        return self.rules.location(clause.rule.source, clause.rule.span)

    def effect(self, action: Action) -> str:
        """One action as one reads it behind the parameter's name."""
        rule = action.clause.rule
        if not isinstance(rule, Assign):
            return {"keep": "kept", "default": "default", "copy": "copied"}[rule.kind]
        text = " ".join(self.rules.text(rule.source, Span(rule.operator_span.start, rule.span.end)).split())
        match = action.match
        if match.view is not None:
            text = f"as {self.rules.text(rule.source, match.view.span)} {text}"
        elif match.index is not None:
            text = f"{self.rules.text(rule.source, match.index.span)} {text}"
        return text

    def explain(self, name: str) -> Any:
        """Every rule that touches one tensor, in order, and which won; see `Explanation`.

        Raises KeyError with the nearest name.
        """
        from initdsl.reports.explain import explain

        return explain(self, name)

    # ---- doing

    def apply(self, on_init: Any = None, sample: Any = None) -> Report:
        """Carry the plan out on the network it was made for. Raises ApplyError; then everything is as it was."""
        from initdsl.filling.execute import execute

        return execute(self, on_init, sample=sample)

    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON-ready values, versioned; `initdsl apply` carries them out where nothing has changed."""

        return {
            "format": PLAN_FORMAT, "version": PLAN_VERSION, "seed": self.seed,
            "network": self.network.fingerprint(),
            "rules": {"root": self.rules.root, "sources": self.rules.sources},
            "vars": dict(self.resolver.variables),
            "entries": [entry.to_dict() for entry in self.entries],
            "ties": [list(names) for names in self.tied],
            "unmatched": [d.to_dict() for d in self.warnings],
            "notes": [d.to_dict() for d in self.notes],
            "totals": totals(self.entries),
        }  # fmt: skip

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the plan to a file: a page (`.html`), the values of `to_dict` (`.json`) or the table (`.txt`).

        Raises ValueError for another suffix, OSError where the file can't be written.
        """
        from initdsl.reports.pages import plan_page
        from initdsl.reports.pages.save import save

        save(path, html=lambda: plan_page(self), data=self.to_dict, text=self.__str__)

    def __str__(self) -> str:
        from initdsl.reports.table import plan_text

        return plan_text(self)

    def __repr__(self) -> str:
        from initdsl.reports.table import summary

        return f"<Plan: {summary(self)}>"

    def _repr_html_(self) -> str:
        from initdsl.reports.table import table

        return table(self)

    def __getstate__(self) -> dict[str, Any]:
        raise TypeError("a plan belongs to the network it was made for; pickle the rules, or `plan.to_dict()`")


def leaves_alone(entry: PlanEntry) -> bool:
    return not entry.edits and (entry.base is None or isinstance(entry.base.payload, Kept))


def totals(entries: Iterable[PlanEntry]) -> dict[str, dict[str, int]]:
    """Tensors and elements by what happens to them."""
    found: dict[str, dict[str, int]] = {}
    for entry in entries:
        count = found.setdefault(entry.status, {"tensors": 0, "elements": 0})
        count["tensors"] += 1
        count["elements"] += entry.numel
    return found
