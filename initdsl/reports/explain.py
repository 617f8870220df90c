"""Why a tensor starts as it does: every rule that touches it, in order, and which had the last word."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any

from initdsl.planning.actions import Action, Clause, Draw, Kept, Payload, Reset
from initdsl.planning.plan import Plan, PlanEntry
from initdsl.planning.resolve import selections
from initdsl.text.diagnostic import printable
from initdsl.text.wording import did_you_mean, listed, relative_location

from .table import grouped, row_name, stated

__all__ = ["Explanation", "explain"]


EXPLAIN_FORMAT = "initdsl-explanation"


@dataclass(frozen=True)
class Touch:
    """One rule that selects the tensor: `Touch("Linear.weight ~ normal(0, 1)", "mlp.init:2", "base", "the last rule ...", "")`.

    `role` is what became of it: `base`, `edit`, `slice` or `overridden`; `resolved` what its right-hand side came to.
    """

    text: str
    location: str
    role: str
    reason: str
    resolved: str


@dataclass(frozen=True, repr=False)
class Explanation:
    """The rules of one tensor in file order; `str()` shows them.

    `alike` are the names of others that the same rules set, where the line of a plan was asked for.
    """

    entry: PlanEntry
    touches: tuple[Touch, ...]
    ties: tuple[str, ...]
    alike: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the explanation as JSON-ready values, versioned."""
        return {
            "format": EXPLAIN_FORMAT,
            "version": 1,
            "name": self.entry.name,
            "names": self.entry.names,
            "shape": list(self.entry.shape),
            "dtype": self.entry.dtype,
            "status": self.entry.status,
            "rules": [
                {"text": t.text, "location": t.location, "role": t.role, "reason": t.reason, "resolved": t.resolved}
                for t in self.touches
            ],
            "ties": list(self.ties),
            **({"alike": list(self.alike)} if self.alike else {}),
        }

    def __str__(self) -> str:
        entry = self.entry
        lines = [f"{entry.label} {list(entry.shape)} {entry.dtype}"]
        if len(entry.names) > 1:
            lines.append(f"  one tensor under the names {', '.join(entry.names)}")
        if self.alike:
            lines.append(f"  the same rules set {listed(list(self.alike))}")
        lines += [f"  {tie}" for tie in self.ties]
        places = [relative_location(t.location) for t in self.touches]
        width = max(map(len, places), default=0)
        for touch, place in zip(self.touches, places, strict=True):
            mark = "  " if touch.role == "overridden" else "->"
            lines.append(f"  {mark} {place.ljust(width)}  {touch.text}")
            lines.append(f"     {' ' * width}  {touch.reason}{f': {touch.resolved}' if touch.resolved else ''}")
        if not self.touches:
            lines.append("  no rule reaches it: it keeps the values it has")
        elif entry.base is None:
            lines.append("  no rule sets all of it: the rest keeps the values it has")
        return "\n".join(map(printable, lines))

    def __repr__(self) -> str:
        count = len(self.touches)
        return printable(f"<Explanation: {self.entry.label}, {count} rule{'s' * (count != 1)}>")


def _is_inside(entry: PlanEntry, module: str) -> bool:
    """Tell whether a module of this name, written either way, has a tensor."""
    return any(name.startswith((f"{module}.", f"{module}[")) for name in (*entry.names, entry.label))


def explain(plan: Plan, name: str) -> Explanation:
    """Return every rule that touches the tensor of this name (`layers.0.weight` or `net.layers[0].weight`).

    A line's name in the plan, `layers.{0..3}.weight`, is that of several: the first is explained. Raises KeyError, with
    the nearest names, where there is none.
    """
    entry = plan.entry_named(name)
    if entry is None:
        lines = dict(grouped(plan.entries))
        shown = {row_name(line, members): line for line, members in lines.items()}
        if members := lines.get(shown.get(name, name)):
            return replace(explain(plan, members[0].name), alike=tuple(member.name for member in members[1:]))
        inside = [e.label if e.label.startswith(name) else e.name for e in plan.entries if _is_inside(e, name)]
        if inside:
            raise KeyError(f"`{name}` is a module, whose parameters are {listed(inside)}")
        hint = did_you_mean(name, [*plan.by_name, *lines])
        raise KeyError(f"no parameter is named `{name}`{f'; {hint}' if hint else ''}")
    index = entry.tensor.index
    actions = {a.clause.number: a for a in entry.actions}
    touches = []
    selecting = {clause.number: clause for clause, selection in selections(plan) if index in selection.by_tensor}
    selecting |= {action.clause.number: action.clause for action in entry.actions}
    for number in sorted(selecting):
        touches.append(_touch(entry, selecting[number], actions.get(number)))
    ties = tuple(
        f"tied by `{' '.join(plan.rules.text(t.rule.source, t.rule.span).split())}` ({plan.rules.location(t.rule.source, t.rule.span)})"
        for t in plan.ties
        if plan.tied_to.get(t.source, t.source) == index
    )
    return Explanation(entry, tuple(touches), tuple(dict.fromkeys(ties)))


def _touch(entry: PlanEntry, clause: Clause, action: Action | None) -> Touch:
    text, place = clause.text, clause.location
    if action is None:
        base = entry.base
        if base is not None and clause.number < base.clause.number:
            later = relative_location(base.clause.location)
            reason = f"overridden by {later}, a later rule for the whole tensor; it draws nothing"
        else:
            reason = "selects nothing of it"
        return Touch(text, place, "overridden", reason, "")
    payload = action.payload
    resolved = str(payload if isinstance(payload, Draw) else stated(payload) or "")
    resolved = resolved or ", ".join(f"{load.key} of {os.path.basename(load.path)}" for load in action.loads)
    if action is entry.base:
        return Touch(text, place, "base", f"the last rule for the whole tensor{_without_values(payload)}", resolved)
    if action.index is not None or action.view is not None:
        return Touch(text, place, "slice", f"on top, on a piece of shape {list(action.shape)}", resolved)
    return Touch(text, place, "edit", "on top, in file order", resolved)


def _without_values(payload: Payload) -> str:
    """Return what a rule does that says no values itself."""
    match payload:
        case Kept():
            return ": it stays as it is"
        case Reset():
            return ": its module's own default"
    return ""
