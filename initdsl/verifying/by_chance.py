"""Tensors that are drawn without a seed: tested for the distribution, or the property, that their rules give them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from initdsl.filling.to_disk.origin import Held, release, whole
from initdsl.initializers import of_part
from initdsl.planning.actions import Action, Draw, Expression
from initdsl.planning.plan import PlanEntry
from initdsl.planning.program import Apply, Drawn
from initdsl.statistics.goodness import Sample, beyond, holm, two_samples
from initdsl.statistics.moments import real_parts
from initdsl.statistics.predicted import affine_distribution

from .determined import UNKNOWN, Sources, is_drawn, sources_of
from .exactly import NEEDS_CODE, Difference, compared, made_pieces, needs_code
from .known_defaults import distribution_of_default
from .properties import PROPERTIES
from .subject import Subject
from .verification import Check, differing, unchecked

__all__ = ["Outcome", "draws", "settled", "statistical"]


# elements that are drawn to know what an expression's values look like, from at most so many seeds
SIMULATED, MOST_SEEDS = 1 << 16, 64


# functions whose result for one element depends on the others
REDUCTIONS = frozenset(["min", "max", "sum", "mean", "std", "norm"])


@dataclass(frozen=True)
class Outcome:
    """A check, and the p-values that are still to be judged beside those of all others: `Outcome(check, (("mean", 0.4),))`."""

    check: Check
    tests: tuple[tuple[str, float], ...] = ()


def draws(entry: PlanEntry) -> bool:
    """Return whether chance has a part in an entry's values."""
    return any(is_drawn(action) for action in entry.actions)


def statistical(subject: Subject, entry: PlanEntry, check: Check, name: str) -> Outcome:
    """Return what tests say of an entry, by the most that is known of its values before they are drawn."""
    check = replace(check, how="distribution")
    if entry.tensor.complex:
        return _of_parts(subject, entry, check, name)
    distribution = affine_distribution(entry) or distribution_of_default(subject.plan, entry)
    if distribution is not None:
        sample = Sample(distribution, subject.store.tensors[name].dtype)
        for piece in subject.store.pieces(name):
            sample.add(piece.values)
        return _judged(Outcome(check), sample)
    draw = entry.base.payload if entry.base is not None else None
    if isinstance(draw, Draw) and not entry.edits:
        return Outcome(_by_property(check, draw, subject.store.whole(name)))
    sources = sources_of(entry)
    if all(not making.is_drawn or making.distribution is not None for making in sources.makings):
        return _by_making(subject, entry, check, name, sources)
    return _by_simulation(subject, entry, check, name, sources)


def _of_parts(subject: Subject, entry: PlanEntry, check: Check, name: str) -> Outcome:
    """Return what tests say of the real and the imaginary parts of a complex tensor, all of them together."""
    if entry.distribution is None:
        return _by_simulation(subject, entry, check, name, sources_of(entry))
    sample = Sample(of_part(entry.distribution), subject.store.tensors[name].dtype)
    for piece in subject.store.pieces(name):
        sample.add(piece.values)
    return _judged(Outcome(check), sample)


def _judged(outcome: Outcome, sample: Sample) -> Outcome:
    """Return an outcome with a further sample: its bounds are judged at once, its tests together with all others."""
    check, total, tests = outcome.check, sample.moments, sample.tests()
    check = replace(
        check,
        measured={"mean": total.mean, "std": total.std, "min": total.low, "max": total.high},
        expected={"mean": sample.distribution.mean, "std": sample.distribution.std},
        p_values={**check.p_values, **{test: min(p, check.p_values.get(test, 1.0)) for test, p in tests.items()}},
    )
    outside = sample.outside()
    return Outcome(check if outside is None else differing(check, outside), (*outcome.tests, *tests.items()))


def _by_making(subject: Subject, entry: PlanEntry, check: Check, name: str, sources: Sources) -> Outcome:
    """Return what is said of each element by what makes it: drawn ones are tested together, others compared one by one."""
    dtype = subject.store.tensors[name].dtype
    samples = [None if m.distribution is None else Sample(m.distribution, dtype) for m in sources.makings]
    difference = Difference()
    if all(samples):
        pieces: Iterable[Any] = ((extents, values, values) for extents, values in subject.store.pieces(name))
    else:
        pieces = made_pieces(subject, entry, name)
    for extents, values, wanted in pieces:
        numbers = sources.cut(extents)
        for number, sample in enumerate(samples):
            chosen = numbers == number
            if sample is not None and bool(chosen.any()):
                sample.add(values[chosen])
            elif sample is None:
                difference.add(values, wanted, extents, chosen)
    outcome = Outcome(check)
    for sample in samples:
        if sample is not None and sample.moments.count + sample.moments.other:
            outcome = _judged(outcome, sample)
    if difference.count:
        outcome = replace(outcome, check=differing(outcome.check, difference.message(entry.shape)))
    return outcome


def _by_property(check: Check, draw: Draw, values: torch.Tensor) -> Check:
    """Return the check of a matrix that has a property in place of a distribution."""
    name = draw.initializer.name
    if not draw.initializer.builtin or name not in PROPERTIES:
        return unchecked(check, f"`{name}` can be compared under its seed only")
    check = replace(check, how="property")
    wrong = PROPERTIES[name](values, draw.arguments)
    return check if wrong is None else differing(check, wrong)


def _by_simulation(subject: Subject, entry: PlanEntry, check: Check, name: str, sources: Sources) -> Outcome:
    """Return what tests say against values that the same rules draw under a seed, for what works element by element."""
    if not all(_by_element(action) for action in entry.actions):
        return Outcome(unchecked(check, "can be compared under its seed only"))
    if needs_code(subject, entry):
        return Outcome(unchecked(check, NEEDS_CODE))
    chosen = (sources.numbers != UNKNOWN).reshape(-1)
    if entry.tensor.complex:
        chosen = chosen.repeat_interleave(2)
    values = real_parts(subject.store.whole(name)).double().reshape(-1)[chosen]
    if not bool(torch.isfinite(values).all()):
        return Outcome(differing(check, "some elements are not finite"))
    reference = _simulated(subject, entry)[:, chosen]
    if bool((reference == reference[0, :1]).all()):  # nothing was drawn after all
        difference = Difference()
        difference.add(values, reference[0])
        return Outcome(compared(subject, check, difference, entry.shape))
    p_values = {**two_samples(values, reference.reshape(-1)), "extremes": beyond(values, reference)}
    check = replace(
        check,
        measured={"mean": float(values.mean()), "std": float(values.std(correction=0))},
        expected={"mean": float(reference.mean()), "std": float(reference.std(correction=0))},
        p_values=p_values,
    )
    return Outcome(check, tuple(p_values.items()))


def _simulated(subject: Subject, entry: PlanEntry) -> torch.Tensor:
    """Return what an entry's rules draw under some seeds, a row each: enough of them for small tensors too."""
    count = max(1, min(MOST_SEEDS, SIMULATED // max(1, entry.numel)))
    rows = []
    release(subject.held)
    for seed in range(count):
        source, held = replace(subject.source, plan=replace(subject.source.plan, seed=seed)), Held()
        try:
            rows.append(real_parts(whole(source, held, entry.name)).double().reshape(-1).clone())
        finally:
            release(held)
    return torch.stack(rows)


def _by_element(action: Action) -> bool:
    """Return whether an action gives each element its value without a look at the others."""
    if not isinstance(action.payload, Expression):
        return not isinstance(action.payload, Draw)
    return all(
        step.function not in REDUCTIONS
        if isinstance(step, Apply)
        else not isinstance(step, Drawn) or step.initializer.elementwise
        for step in action.payload.program.steps
    )


def settled(outcomes: Sequence[Outcome], alpha: float) -> list[Check]:
    """Return the checks, all p-values judged together: Holm over the tensors, Bonferroni over the tests of one."""
    checks = [outcome.check for outcome in outcomes]
    tested = [number for number, outcome in enumerate(outcomes) if outcome.tests]
    smallest = [min(outcomes[number].tests, key=lambda test: test[1]) for number in tested]
    corrected = [min(1.0, p * len(outcomes[number].tests)) for number, (_, p) in zip(tested, smallest, strict=True)]
    for number, (test, p), wrong in zip(tested, smallest, holm(corrected, alpha), strict=True):
        if wrong and checks[number].status == "match":
            checks[number] = differing(checks[number], f"{_finding(checks[number], test)} (p = {p:.2g})")
    return checks


def _finding(check: Check, test: str) -> str:
    """Return what a test has found, in words."""
    if test in ("mean", "std") and test in check.measured:
        return f"the {test} is {check.measured[test]:.5g}, the rule's {check.expected[test]:.5g}"
    if test == "share":
        return f"the mean is {check.measured['mean']:.5g}, the rule's {check.expected['mean']:.5g}"
    if test == "extremes":
        return "elements lie farther out than what the rule draws"
    return "its values are distributed otherwise"
