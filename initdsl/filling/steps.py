"""The steps of a fill in the order of the writes: ties, modules' own defaults, and one step for each entry."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import nn

from initdsl.planning.actions import Kept
from initdsl.planning.plan import PlanEntry

from .defaults import ResetModule, refuse_left, reset_beside, reset_module
from .run import Run, read_whole
from .safe import can_fail, is_plain
from .together import Alike, fill_together, grouped
from .torch_resets import is_simple, reset_simply
from .transaction import Backup, Step, memory_key
from .whole_fill import NOT_WRITTEN, Reading, fill_whole

__all__ = [
    "Ways",
    "claims_of",
    "entry_step",
    "left_step",
    "reset_step",
    "save_tensors",
    "save_tensors_below",
    "steps_of",
    "whole_ways",
]


class Ways(NamedTuple):
    """How a run writes: it fills an entry, resets tensors of a module, does that beside the module, reads a tensor.

    `together`, where it is not None, fills several small tensors at once: then this process holds all of every tensor.
    """

    fill: Callable[[PlanEntry], None]
    reset: ResetModule
    reset_beside: ResetModule
    read: Reading
    together: Callable[[Sequence[Alike]], None] | None = None


def whole_ways(run: Run) -> Ways:
    """Return how a run writes to tensors that this process holds as a whole."""
    read, beside = partial(read_whole, run), partial(reset_beside, run)
    return Ways(
        partial(fill_whole, run, read=read),
        lambda index, tensors: reset_module(run, index, tensors, beside),
        beside,
        read,
        partial(fill_together, run),
    )


def steps_of(run: Run, ways: Ways) -> list[Step]:
    """Return the steps that tie, reset and fill by a run's plan."""
    resets, whole = dict(run.plan.resets), ways.together is not None
    simple = {index for index, own in resets.items() if whole and is_simple(run, index, own)}
    awaited = resets.keys() - simple
    steps = [Step(partial(_tie, run), True, partial(_save_ties, run))] if run.plan.ties else []
    items: Iterable[PlanEntry | int] = _with_resets(run) if resets else run.plan.order
    for item in grouped(run, items) if whole else items:
        if isinstance(item, PlanEntry):
            if not (whole and _is_done(run, item)):
                steps.append(entry_step(run, ways, item))
        elif isinstance(item, list):
            assert ways.together is not None
            steps.append(Step(partial(ways.together, item), False, partial(_save_group, run, item)))
        elif item in simple:
            steps.append(Step(partial(reset_simply, run, item), False, partial(save_tensors, run, resets[item])))
        else:
            steps.append(reset_step(run, ways, item, resets[item]))
            awaited.discard(item)
            if not awaited:
                steps.append(left_step(run, run.plan.order))
    return steps


def _with_resets(run: Run) -> list[PlanEntry | int]:
    """Return the entries in the order of the writes and, by their numbers, the modules whose own resets come between.

    A module's reset comes when `net.apply` would reach it, before the rules for its tensors, and before what builds on
    or reads the values it gives.
    """
    turns = {index: turn for turn, index in enumerate(run.plan.network.apply_order)}
    reset_last: dict[int, int] = {}  # by tensor, the turn of the last module that resets it
    for index, tensors in run.plan.resets:
        for tensor in tensors:
            reset_last[tensor] = max(reset_last.get(tensor, -1), turns[index])
    waiting = sorted((turns[index], index) for index, _ in run.plan.resets)
    waiting.reverse()
    merged: list[PlanEntry | int] = []
    for entry in run.plan.order:
        owners = entry.tensor.owners
        turn = turns[owners[0][0]] if len(owners) == 1 else min(turns[owner] for owner, _ in owners)
        needs = (entry.tensor.index, *entry.reads) if entry.edits else entry.reads
        if needs:
            turn = max(turn, *(reset_last.get(tensor, -1) for tensor in needs))
        while waiting and waiting[-1][0] <= turn:
            merged.append(waiting.pop()[1])
        merged.append(entry)
    return [*merged, *(index for _, index in reversed(waiting))]


# ---- ties


def _tie(run: Run) -> None:
    """Give every name of the tensors that rules tie the one tensor they become."""
    for module, local, source in _tied_names(run):
        setattr(module, local, source)


def _save_ties(run: Run, backup: Backup) -> None:
    for module, _, _ in _tied_names(run):
        backup.save_objects(module)


def _tied_names(run: Run) -> Iterator[tuple[nn.Module, str, torch.Tensor]]:
    for tie in run.plan.ties:
        source = run.live.tensors[tie.source]
        assert source is not None
        for other in tie.others:
            for owner, local in run.plan.network.tensors[other].owners:
                if owner in run.live.missing:
                    continue
                yield run.live.modules[owner], local, source


# ---- entries and defaults


def entry_step(run: Run, ways: Ways, entry: PlanEntry) -> Step:
    """Return the step that fills an entry."""
    tensor = run.live.tensors[entry.tensor.index]
    fallible = (
        run.on_init is not None
        or entry.tensor.kind == "parametrized"
        or any(can_fail(run, action) for action in entry.actions)
        or not (entry.keeps or is_plain(tensor))
    )
    return Step(partial(ways.fill, entry), fallible, partial(_save_entry, run, entry))


def _is_done(run: Run, entry: PlanEntry) -> bool:
    """Return whether nothing is to be done for an entry: its tensor keeps its values, or its module's reset sets them."""
    if run.on_init is not None or entry.edits or run.live.tensors[entry.tensor.index] is None:
        return False
    return entry.base is None or isinstance(entry.base.payload, NOT_WRITTEN)


def reset_step(run: Run, ways: Ways, index: int, tensors: tuple[int, ...]) -> Step:
    """Return the step that runs a module's own reset for some tensors."""
    return Step(partial(ways.reset, index, tensors), True, partial(save_tensors_below, run, index))


def left_step(run: Run, entries: Iterable[PlanEntry]) -> Step:
    """Return the step that comes after all resets, and refuses entries that they left as they were."""
    return Step(partial(refuse_left, run, entries), True, lambda backup: None)


def _save_entry(run: Run, entry: PlanEntry, backup: Backup) -> None:
    if run.fresh:
        return
    tensor = run.live.tensors[entry.tensor.index]
    if tensor is None:
        owner = run.live.modules[entry.tensor.owners[0][0]]
        backup.save_objects(owner)
        backup.save_values((*owner.parameters(), *owner.buffers()))
    elif not entry.keeps:
        backup.save_values([tensor])


def _save_group(run: Run, group: Sequence[Alike], backup: Backup) -> None:
    for alike in () if run.fresh else group:
        backup.save_values(alike.tensors)


def save_tensors(run: Run, tensors: tuple[int, ...], backup: Backup) -> None:
    """Back up tensors, by their numbers."""
    if not run.fresh:
        backup.save_values(tensor for number in tensors if (tensor := run.live.tensors[number]) is not None)


def save_tensors_below(run: Run, index: int, backup: Backup) -> None:
    """Back up everything that a module and those below it hold, but for what has no memory."""
    if run.fresh:
        return
    module = run.live.modules[index]
    backup.save_objects(module)
    tensors = (*module.parameters(), *module.buffers())
    backup.save_values(tensor for tensor in tensors if not nn.parameter.is_lazy(tensor) and not tensor.is_meta)


# ---- claims


def claims_of(run: Run, *, ties: bool = True) -> set[int]:
    """Return keys of the memory that is written, and of the modules whose objects or modes change, in a run."""
    claims: set[int] = set()
    tensors = run.live.tensors
    for entry in run.plan.order:
        base = entry.base
        if entry.edits or (base is not None and not isinstance(base.payload, Kept)):
            tensor = tensors[entry.tensor.index]
            if tensor is None:
                claims.add(id(run.live.modules[entry.tensor.owners[0][0]]))
            else:
                claims.add(memory_key(tensor))
    if run.plan.resets or run.plan.adjusted:
        claims |= {id(module) for module in run.live.modules}
    elif ties:
        claims |= {id(module) for module, _, _ in _tied_names(run)}
    return claims
