"""Small tensors that are filled several in one step, as a step of its own costs more than their numbers do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import groupby
from typing import NamedTuple

import torch

from initdsl.initializers import Constant, Distribution, filler
from initdsl.planning.actions import Action, Kept, Value
from initdsl.planning.plan import PlanEntry

from .blame import blaming
from .run import Run
from .safe import can_fail, is_plain
from .seeded import fill_whole_streams

__all__ = ["Small", "fill_together", "grouped"]


# elements of a tensor that counts as small, and of those that are filled in one step: an interrupt waits for its end
SMALL = 1 << 16


MOST = 1 << 20


class Small(NamedTuple):
    """A tensor that one action sets as a whole, and that nothing can go wrong with.

    `write` writes the numbers; None where they are drawn from the streams of a seed.
    """

    entry: PlanEntry
    tensor: torch.Tensor
    write: Callable[[torch.Tensor], object] | None


# makes a NamedTuple of all its fields, in half the time of its own constructor
_new = tuple.__new__


def grouped(run: Run, items: Iterable[PlanEntry | int]) -> Iterator[PlanEntry | int | list[Small]]:
    """Yield entries and modules to reset in their order, small tensors that follow one another as a list."""
    ways: dict[int, Way] = {}
    group: list[Small] = []
    room = MOST
    alone = run.on_init is not None
    for item in items:
        small = None if alone or type(item) is not PlanEntry else _small(run, item, ways)
        if small is not None:
            group.append(small)
            room -= small.tensor.numel()
            if room > 0:
                continue
        if group:
            yield group
            group, room = [], MOST
        if small is None:
            yield item
    if group:
        yield group


# of an action, by its id: whether it only writes numbers to a whole tensor, and what `Small.write` is for it
Way = tuple[bool, Callable[[torch.Tensor], object] | None]


def _small(run: Run, entry: PlanEntry, ways: dict[int, Way]) -> Small | None:
    """Return an entry as a small tensor; None where it is none."""
    action = entry.base
    if action is None or entry.edits:
        return None
    way = ways.get(id(action))
    if way is None:
        way = ways[id(action)] = _way(run, action)
    only_writes, write = way
    tensor = run.live.tensors[entry.tensor.index]
    if not only_writes or tensor is None or not is_plain(tensor) or not 0 < tensor.numel() <= SMALL:
        return None
    return _new(Small, (entry, tensor, write))


def _way(run: Run, action: Action) -> Way:
    payload = action.payload
    if action.index is not None or isinstance(payload, Kept) or can_fail(run, action):
        return False, None
    if isinstance(payload, Value):
        number = payload.value
        return True, lambda tensor: tensor.fill_(number)
    assert isinstance(payload, Distribution)
    return True, filler(payload) if run.seed is None or isinstance(payload, Constant) else None


def fill_together(run: Run, group: Sequence[Small]) -> None:
    """Fill small tensors in their order; those that follow one another and get the same draw at once. Raises StepFailed."""
    for _, alike in groupby(group, key=lambda small: id(small.entry.base) if small.write is None else None):
        smalls = list(alike)
        if smalls[0].write is None:
            with _blaming(run, smalls[0]):
                _draw(run, smalls)
            continue
        for small in smalls:
            write = small.write
            assert write is not None
            try:
                write(small.tensor)
            except Exception:
                with _blaming(run, small):
                    raise


def _blaming(run: Run, small: Small) -> AbstractContextManager[None]:
    assert small.entry.base is not None
    return blaming(run.plan, small.entry, small.entry.base)


def _draw(run: Run, smalls: Sequence[Small]) -> None:
    """Fill whole tensors of one action from the streams of their names."""
    action = smalls[0].entry.base
    assert run.seed is not None
    assert action is not None
    assert isinstance(action.payload, Distribution)
    fill_whole_streams(run.seed, action, [small.entry for small in smalls], [s.tensor for s in smalls])
