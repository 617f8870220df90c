"""Small tensors that are filled several in one step, as a step of its own costs more than their numbers do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import torch

from initdsl import streams
from initdsl.initializers import Constant, Distribution, filler
from initdsl.planning.actions import Action, Kept, Reset, Value
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
    tensors = run.live.tensors
    group: list[Alike] = []
    room = MOST
    for item in items:  # in one go: a call for each of very many takes as long as to fill it
        if isinstance(item, PlanEntry) and not item.edits and (way := ways.get(id(item.base))) is not None:
            tensor = tensors[item.tensor.index]
            if tensor is not None and way.fits(tensor) and 0 < (count := tensor.numel()) <= SMALL:
                if not group or group[-1].way is not way:
                    group.append(Alike(way, [], []))
                group[-1].entries.append(item)
                group[-1].tensors.append(tensor)
                room -= count
                if room <= 0:
                    yield group
                    group, room = [], MOST
                continue
        if group:
            yield group
            group, room = [], MOST
        yield item
    if group:
        yield group


def _way(run: Run, action: Action) -> Way | None:
    """Return how an action sets tensors as a whole; None where it does not, or more than to write numbers."""
    payload = action.payload
    if isinstance(payload, Kept | Reset) or action.index is not None or can_fail(run, action):
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
        if isinstance(action.payload, Distribution) and streams.draw_as_torch(tensors, action.payload):
            continue
        for entry, tensor in zip(entries, tensors, strict=True):
            try:
                write(tensor)
            except Exception:
                with blaming(run.plan, entry, action):
                    raise
