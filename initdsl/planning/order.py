"""The order of the writes: readers after what they read, and what goes by a sample last."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from initdsl.network.description import Network
from initdsl.text.diagnostic import Diagnostic
from initdsl.text.wording import listed

from .actions import Action, Draw
from .context import Context
from .plan import PlanEntry, distinct_actions

__all__ = ["Circle", "circular_read", "read_after_sample", "write_order"]


NOTHING: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Circle:
    """Entries that wait for each other's final values, and those that were ordered before."""

    entries: list[PlanEntry]
    ordered: list[PlanEntry]


def circular_read(context: Context, circle: Circle) -> Diagnostic:
    """Return what is wrong with entries that read each other."""
    action = next(action for action in circle.entries[0].actions if action.reads)
    rule = action.clause.rule
    message = f"these read each other's final values: {listed([e.label for e in circle.entries])}"
    return Diagnostic("circular-read", message, context.rules.source(rule.source), rule.span)


def write_order(network: Network, tied_to: Mapping[int, int], entries: Iterable[PlanEntry]) -> list[PlanEntry] | Circle:
    """Return the entries that are written in the order of `net.apply`, readers after what they read."""
    written = {e.tensor.index: e for e in entries if e.base is not None or e.edits}
    met: list[int] = []
    for index in network.apply_order:
        module = network.modules[index]
        met += module.parameters.values()
        if module.buffers:
            met += module.buffers.values()
    if tied_to:
        met = [tied_to.get(tensor, tensor) for tensor in met]
    pending = [written[tensor] for tensor in dict.fromkeys(met) if tensor in written]
    if not any(action.reads for action in distinct_actions(pending)):
        return pending
    waits = {e.tensor.index: (written.keys() & e.reads) - {e.tensor.index} for e in pending if e.reads}
    if not any(waits.values()):
        return pending
    done: dict[int, PlanEntry] = {}
    while pending:
        later = []
        for entry in pending:
            if waits.get(entry.tensor.index, NOTHING) <= done.keys():
                done[entry.tensor.index] = entry
            else:
                later.append(entry)
        if len(later) == len(pending):
            return Circle(later, list(done.values()))
        pending = later
    return list(done.values())


def read_after_sample(context: Context, order: list[PlanEntry]) -> Iterator[Diagnostic]:
    """Yield edits on, and reads of, tensors that `lsuv` or `activation_norm` sets: those run after everything else."""
    last = {e.tensor.index: e for e in order if e.adjusts}
    for entry in order if last else ():
        edits = [(action, entry) for action in entry.edits] if entry.adjusts else []
        readers = [(a, last[t]) for a in entry.actions for t in sorted(last.keys() & a.reads)]
        for action, adjusted in [*edits, *readers]:
            verb = "builds on it" if adjusted is entry else f"of `{entry.label}` reads it"
            yield _after_sample(context, action, adjusted, verb)


def _after_sample(context: Context, action: Action, adjusted: PlanEntry, verb: str) -> Diagnostic:
    assert adjusted.base is not None
    assert isinstance(adjusted.base.payload, Draw)
    name = adjusted.base.payload.initializer.name
    rule = action.clause.rule
    return Diagnostic(
        "after-sample",
        f"`{name}` adjusts `{adjusted.label}` when all else is filled, and this rule {verb}",
        context.rules.source(rule.source),
        rule.span,
        "apply it afterwards, from a file of its own",
    )
