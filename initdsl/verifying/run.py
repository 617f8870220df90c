"""Every tensor of a subject checked: exactly where its values are known, by chance where they are drawn."""

from __future__ import annotations

from dataclasses import replace

import torch

from initdsl.filling.expectations import unmet_expectations
from initdsl.filling.to_disk.origin import release
from initdsl.planning.plan import PlanEntry
from initdsl.text.diagnostic import ApplyError

from .by_chance import Outcome, draws, settled, statistical
from .determined import is_determined, sources_of
from .exactly import computed, exact
from .subject import Subject
from .verification import Check, unchecked

__all__ = ["checks_of", "unmet"]


def checks_of(subject: Subject, alpha: float) -> list[Check]:
    """Return a check for every entry of the plan; `alpha` is the chance that values which do match are said not to."""
    outcomes = []
    for entry in subject.plan.entries:
        with torch.no_grad():
            outcomes.append(_outcome(subject, entry))
    release(subject.held)
    checks = settled(outcomes, alpha)
    return [check if check.moved and check.status != "unchecked" else replace(check, moved=None) for check in checks]


def unmet(subject: Subject) -> list[str]:
    """Return the `expect` statements that do not hold of what is stored; training is free to break them."""
    if subject.after_training:
        return []

    def value(tensor: int) -> torch.Tensor | None:
        name = subject.stored(subject.plan.names_of(tensor))
        return None if name is None else subject.store.whole(name)

    return [f"{finding.message} ({finding.location})" for finding in unmet_expectations(subject.plan, value)]


def _outcome(subject: Subject, entry: PlanEntry) -> Outcome:
    check = _new(entry)
    name = subject.names[entry.tensor.index]
    if entry.tensor.kind != "parametrized":
        if name is None:
            return Outcome(unchecked(check, "missing"))
        if subject.store.tensors[name].shape != entry.shape:
            return Outcome(unchecked(check, "of another shape"))
    if entry.keeps:
        return Outcome(check)
    undetermined = 0 if is_determined(entry) else sources_of(entry).unknown
    if undetermined == entry.numel:
        return Outcome(unchecked(check, "it builds on values that no rule sets"))
    if name is None or entry.tensor.kind == "parametrized":
        return Outcome(computed(subject, entry, check))
    if undetermined:
        message = f"{undetermined} of {entry.numel} elements build on values that no rule sets, and are not compared"
        check = replace(check, message=message)
    if subject.after_training:
        check = replace(check, moved={})  # what is seen to differ has moved, and has not drifted
    try:
        if subject.plan.seed is None and draws(entry):
            return statistical(subject, entry, check, name)
        return Outcome(exact(subject, entry, check, name))
    except ApplyError as error:
        return Outcome(unchecked(check, error.diagnostics[0].message))


def _new(entry: PlanEntry) -> Check:
    location = ", ".join(dict.fromkeys(place for _, place in entry.statements))
    return Check(entry.name, tuple(entry.names), entry.label, entry.shape, entry.effect, location)
