"""Small tensors that are filled several in one step, as a step of its own costs more than their numbers do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch

from initdsl import streams
from initdsl.initializers import Constant, Distribution, filler
from initdsl.planning.actions import Action, Kept, Value
from initdsl.planning.plan import PlanEntry

from .blame import blaming
from .run import Run
from .safe import can_fail, is_plain
from .seeded import fill_whole_streams

__all__ = ["Alike", "fill_together", "grouped"]


# elements of a tensor that counts as small, and of those that are filled in one step: an interrupt waits for its end
SMALL = 1 << 16


MOST = 1 << 20


class Way(NamedTuple):
    """How an action sets a tensor as a whole: `Way(action, is_plain, torch.Tensor.zero_)`.

    Nothing can go wrong with a tensor that `fits`. `write` writes the numbers; None where they are drawn from the streams of
    a seed.
    """

    action: Action
    fits: Callable[[torch.Tensor], bool]
    write: Callable[[torch.Tensor], object] | None


class Alike(NamedTuple):
    """Small tensors that follow one another and are set in one way."""

    way: Way
    entries: list[PlanEntry]
    tensors: list[torch.Tensor]


def grouped(run: Run, items: Iterable[PlanEntry | int]) -> Iterator[PlanEntry | int | list[Alike]]:
    """Yield entries and modules to reset in their order, small tensors that follow one another as a list."""
    ways = {id(action): _way(run, action) for action in run.plan.actions} if run.on_init is None else {}
    group: list[Alike] = []
    room = MOST
    for item in items:
        count = _added(group, item, ways, run.live.tensors) if isinstance(item, PlanEntry) else 0
        room -= count
        if count and room > 0:
            continue
        if group:
            yield group
            group, room = [], MOST
        if not count:
            yield item
    if group:
        yield group


def _added(
    group: list[Alike], entry: PlanEntry, ways: Mapping[int, Way | None], tensors: Sequence[torch.Tensor | None]
) -> int:
    """Add an entry to a group, if its tensor is small and set as a whole; return the number of its elements, 0 if not added."""
    way = None if entry.edits else ways.get(id(entry.base))
    tensor = None if way is None else tensors[entry.tensor.index]
    if way is None or tensor is None or not way.fits(tensor):
        return 0
    count = tensor.numel()
    if not 0 < count <= SMALL:
        return 0
    if not group or group[-1].way is not way:
        group.append(Alike(way, [], []))
    group[-1].entries.append(entry)
    group[-1].tensors.append(tensor)
    return count


def _way(run: Run, action: Action) -> Way | None:
    """Return how an action sets tensors as a whole; None where it does not, or more than to write numbers."""
    payload = action.payload
    if action.index is not None or isinstance(payload, Kept) or can_fail(run, action):
        return None
    if isinstance(payload, Value):
        number = payload.value
        return Way(action, is_plain, lambda tensor: tensor.fill_(number))
    assert isinstance(payload, Distribution)
    if run.seed is None or isinstance(payload, Constant):
        return Way(action, is_plain, filler(payload))
    return Way(action, streams.is_ready, None)


def fill_together(run: Run, group: Sequence[Alike]) -> None:
    """Fill small tensors in their order, those of one draw from streams at once. Raises StepFailed."""
    for (action, _, write), entries, tensors in group:
        if write is None:
            assert run.seed is not None
            with blaming(run.plan, entries[0], action):
                fill_whole_streams(run.seed, action, entries, tensors)
            continue
        for entry, tensor in zip(entries, tensors, strict=True):
            try:
                write(tensor)
            except Exception:
                with blaming(run.plan, entry, action):
                    raise
