"""Parameters that are not one object and lie in the same memory: what one rule writes there, another one replaces."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from initdsl.initializers import Distribution
from initdsl.network.description import Live
from initdsl.text.diagnostic import Diagnostic

from .actions import Kept, Value
from .plan import Plan, PlanEntry

if TYPE_CHECKING:
    import torch

__all__ = ["remarks_on_memory", "with_shared_memory"]


# elements of memory that are looked at one by one
MOST_LOOKED_AT = 1 << 24


# the classes of tensors whose memory is looked at
PLAIN = frozenset(["Parameter", "Tensor", "Buffer"])


# what stands for memory on the meta device (0 for real one), first byte, end, and the tensor's number
Stretch = tuple[int, int, int, int]


def with_shared_memory(plan: Plan, live: Live) -> Plan:
    """Return a plan with remarks on rules for parameters that share memory, and don't say the same of it."""
    remarks = remarks_on_memory(plan, live)
    return replace(plan, remarks=(*plan.remarks, *remarks)) if remarks else plan


def remarks_on_memory(plan: Plan, live: Live) -> list[Diagnostic]:
    """Return what is remarked of rules for parameters that share memory, and don't say the same of it."""
    return list(_overwritten(plan, live))


def _overwritten(plan: Plan, live: Live) -> Iterator[Diagnostic]:
    """Yield the clauses that write what an earlier write, or a `keep`, is to leave there: the first tensor of each."""
    found = [_stretch(tensor, number) for number, tensor in enumerate(live.tensors)]
    stretches = sorted(stretch for stretch in found if stretch is not None)
    pairs = list(_overlapping(stretches))
    if not pairs:
        return
    kept = [entry for entry in plan.entries if entry.base is not None and entry.keeps]
    entries = [*kept, *(entry for entry in plan.order if not entry.keeps)]
    places = {entry.tensor.index: place for place, entry in enumerate(entries)}
    said: set[int] = set()
    for one, other in pairs:
        if one not in places or other not in places:  # nothing is said of one, or they are tied
            continue
        earlier, later = (entries[place] for place in sorted((places[one], places[other])))
        number = later.actions[-1].clause.number
        if number not in said and _clash(earlier, later, live):
            said.add(number)
            yield _said(plan, earlier, later)


def _overlapping(stretches: Iterable[Stretch]) -> Iterator[tuple[int, int]]:
    """Yield the tensors, by number, of stretches in order that overlap: each with the one before that reaches farthest."""
    device, reached, owner = -1, 0, 0
    for where, start, stop, number in stretches:
        if where == device and start < reached:
            yield owner, number
        if where != device or stop > reached:
            device, reached, owner = where, stop, number


def _stretch(tensor: torch.Tensor | None, number: int) -> Stretch | None:
    """Return where a tensor's memory lies; of one without memory, in what stands for it."""
    if type(tensor).__name__ not in PLAIN:
        return None
    memory: Any = tensor
    try:
        start = memory.data_ptr()
    except RuntimeError:  # a layout or a mode of torch without memory of its own
        return None
    if start and memory.is_contiguous():  # an address tells the device too
        return 0, start, start + memory.nbytes, number
    if memory.is_sparse or not memory.numel() or not (start or memory.is_meta):
        return None
    size, where = memory.element_size(), 0
    if memory.is_meta:
        where, start = memory.untyped_storage()._cdata, memory.storage_offset() * size
    return where, start, start + _reach(memory) * size, number


def _reach(tensor: Any) -> int:
    """Return how many elements lie between a tensor's first and its last one in memory, both counted."""
    return int(sum((n - 1) * stride for n, stride in zip(tensor.shape, tensor.stride(), strict=True))) + 1


def _clash(earlier: PlanEntry, later: PlanEntry, live: Live) -> bool:
    """Return whether two entries, the memory of which overlaps, don't say the same of it."""
    if later.keeps:
        return False
    if not earlier.edits and not later.edits and earlier.base is not None and later.base is not None:
        one, other = earlier.base.payload, later.base.payload
        anywhere = isinstance(one, Value | Distribution) or earlier.shape == later.shape
        if one == other and anywhere and not isinstance(one, Kept):
            return False
    return _have_common_elements(live.tensors[earlier.tensor.index], live.tensors[later.tensor.index])


def _have_common_elements(one: Any, other: Any) -> bool:
    """Return whether two views of overlapping stretches of memory have an element in common."""
    import torch

    if (one.is_contiguous() and other.is_contiguous()) or one.element_size() != other.element_size():
        return True
    size = one.element_size()
    starts = [t.storage_offset() if t.is_meta else t.data_ptr() // size for t in (one, other)]
    low, count = min(starts), max(s + _reach(t) for s, t in zip(starts, (one, other), strict=True)) - min(starts)
    if count > MOST_LOOKED_AT:
        return True
    places = torch.arange(count)
    seen = [
        places.as_strided(t.shape, t.stride(), s - low).flatten() for t, s in zip((one, other), starts, strict=True)
    ]
    return bool(torch.isin(seen[0], seen[1]).any())


def _said(plan: Plan, earlier: PlanEntry, later: PlanEntry) -> Diagnostic:
    rule = later.actions[-1].clause.rule
    what = "`keep` is to leave" if earlier.keeps else f"`{earlier.effect}` gives"
    message = f"`{later.label}` and `{earlier.label}` share memory: this writes over what {what} `{earlier.label}`"
    hint = f"one rule for both, or `tie {earlier.label} {later.label}`, which makes them one parameter"
    return Diagnostic("shared-memory", message, plan.rules.source(rule.source), rule.span, hint, "warning")
