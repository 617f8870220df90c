"""The tree of a plan as the compact JSON that the script of its page reads."""

from __future__ import annotations

import math
from collections.abc import Hashable

from initdsl.planning.actions import Clause
from initdsl.planning.plan import Plan, PlanEntry
from initdsl.reports.table import resolved
from initdsl.statistics.measures import Measure
from initdsl.statistics.predicted import expected
from initdsl.text.wording import relative_location

from .rule_texts import RuleTexts
from .tree import Leaf, Node, further_names

__all__ = ["Contents"]


# the heights of a histogram's bars
DIGITS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


class Contents:
    """The tree row by row; what many parameters share stands once, in `kinds` and `rules`, and rows name its place."""

    def __init__(self, plan: Plan, texts: RuleTexts):
        self.plan = plan
        self.texts = texts
        self.rules: list[list[str]] = []
        self.kinds: list[list[object]] = []
        self.further = further_names(plan)
        self._rule: dict[int, int] = {}
        self._kind: dict[Hashable, int] = {}

    def node(self, node: Node) -> dict[str, object]:
        """Return a module: `n` name, `c` class, `p` its parameters, `k` the modules in it, `f` the members of a fold."""
        values: dict[str, object] = {"n": node.name, "c": node.cls}
        if node.leaves:
            values["p"] = [self.leaf(leaf) for leaf in node.leaves]
        if node.children:
            values["k"] = [self.node(child) for child in node.children]
        if node.members:
            values["f"] = [self.node(member) for member in node.members]
        return values

    def leaf(self, leaf: Leaf) -> list[object]:
        """Return name, kind, tensors, expected, measured, histogram, further names; empty ones at the end left out."""
        entry = leaf.entries[0]
        row: list[object] = [
            leaf.name,
            self.kind(entry),
            len(leaf.entries),
            _promise(leaf.entries),
            _measured(leaf.measure),
            _bars(leaf.measure),
            self.further.get(entry.tensor.index, []) if len(leaf.entries) == 1 else [],
        ]
        while row[-1] in (0, [], 1) and len(row) > 2:
            row.pop()
        return row

    def kind(self, entry: PlanEntry) -> int:
        """Return the place in `kinds` of shape, dtype, status, effect, rules, kind of tensor and resolved values."""
        clauses = {action.clause.number: action.clause for action in entry.actions}
        values = resolved(entry)
        key = (entry.shape, entry.dtype, entry.status, tuple(clauses), entry.tensor.kind, values)
        if key not in self._kind:
            self._kind[key] = len(self.kinds)
            rules = [self.rule(clause) for clause in clauses.values()]
            is_lazy = entry.tensor.problem == "lazy"
            shape = "lazy" if is_lazy else "×".join(map(str, entry.shape)) or "scalar"
            self.kinds.append([shape, entry.dtype, entry.status, entry.effect, rules, entry.tensor.kind, values])
        return self._kind[key]

    def rule(self, clause: Clause) -> int:
        """Return the place in `rules` of a statement's text, location and anchor."""
        if clause.number not in self._rule:
            self._rule[clause.number] = len(self.rules)
            anchor = self.texts.anchor(clause.rule.source, self.texts.lines_of(clause).start)
            location = relative_location(clause.location)
            self.rules.append([clause.text, location, anchor])
        return self._rule[clause.number]


def _short(value: float) -> float | str:
    """Return a number at four digits, as JSON can say it."""
    if not math.isfinite(value):
        return str(value)
    return float(f"{value:.4g}") or 0


def _promise(entries: list[PlanEntry]) -> list[float | str] | int:
    """Return the ranges of the expected mean, standard deviation and bounds of tensors that are alike; 0 for unknown."""
    promises = [promise for entry in entries if (promise := expected(entry)) is not None]
    if len(promises) < len(entries):
        return 0
    mean, std, low, high = zip(*promises, strict=True)
    return [_short(x) for x in (min(mean), max(mean), min(std), max(std), min(low), max(high))]


def _measured(measure: Measure | None) -> list[float | str] | int:
    if measure is None:
        return 0
    values = (measure.mean, *measure.stds, measure.low, measure.high)
    return [*map(_short, values), *([measure.other] if measure.other else [])]


def _bars(measure: Measure | None) -> list[float | str] | int:
    """Return the range of a histogram and its bars, one character each: `0` to `9`, `a` to `z`, `A` to `Z` the highest."""
    if measure is None or not any(measure.histogram):
        return 0
    most = max(measure.histogram)
    bars = "".join(DIGITS[math.ceil((len(DIGITS) - 1) * count / most)] for count in measure.histogram)
    return [_short(measure.edges[0]), _short(measure.edges[1]), bars]
