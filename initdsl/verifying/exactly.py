"""Tensors whose values are known, made again and compared piece by piece."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from initdsl.filling.computed_weights import inverting, is_vector
from initdsl.filling.to_disk.origin import box_filler, whole
from initdsl.network.parts import TensorInfo
from initdsl.planning.actions import Reset
from initdsl.planning.plan import PlanEntry
from initdsl.statistics.measures import Moments, joined
from initdsl.statistics.moments import moments

from .determined import UNKNOWN, is_determined, sources_of
from .subject import Subject
from .verification import Check, differing, unchecked

__all__ = ["NEEDS_CODE", "Difference", "compared", "computed", "exact", "made_pieces", "needs_code"]


# so many elements that differ are named
MOST_PLACES = 3


NEEDS_CODE = "torch's default needs the model's code: `--model`"


def exact(subject: Subject, entry: PlanEntry, check: Check, name: str) -> Check:
    """Return the check of an entry against the values that its rules make, under the plan's seed if they draw."""
    if needs_code(subject, entry):
        return unchecked(check, NEEDS_CODE)
    sources = None if is_determined(entry) else sources_of(entry)
    difference = Difference()
    for extents, values, wanted in made_pieces(subject, entry, name):
        difference.add(values, wanted, extents, None if sources is None else sources.cut(extents) != UNKNOWN)
    check = replace(check, measured=difference.measured, expected=difference.expected)
    return compared(subject, check, difference, entry.shape)


def made_pieces(
    subject: Subject, entry: PlanEntry, name: str
) -> Iterator[tuple[Sequence[range], torch.Tensor, torch.Tensor]]:
    """Yield an entry piece by piece: where it lies, what is stored, and what the rules make under the source's seed."""
    source, pieces = subject.source, subject.store.pieces(name)
    if source.grids[entry.tensor.index] == entry.shape:
        fill = box_filler(source)
        for extents, values in pieces:
            wanted = torch.empty(values.shape, dtype=getattr(torch, entry.dtype))
            fill(entry, entry.shape, extents, wanted)
            yield extents, values, wanted
    else:
        made = whole(source, subject.held, entry.name)
        for extents, values in pieces:
            yield extents, values, made[tuple(slice(extent.start, extent.stop) for extent in extents)]


def computed(subject: Subject, entry: PlanEntry, check: Check) -> Check:
    """Return the check of a parametrized weight, by what it is computed from, where a seed says what that is."""
    tensors, live, source = subject.plan.network.tensors, subject.live.tensors, subject.source
    group = sorted(source.groups.get(entry.tensor.index, ()))
    found = {id(part) for part in inverting(subject.live.modules[entry.tensor.owners[0][0]], entry.tensor.owners[0][1])}
    originals = [
        i
        for i in group
        if live[i] is not None and (tensors[i].kind == "parameter" or _is_found(subject, tensors[i], found))
    ]
    if subject.plan.seed is None or not originals:
        return unchecked(check, "it is computed, and can be compared under its seed only")
    names = {}
    for i in originals:
        name = subject.stored(subject.plan.network.names(tensors[i]))
        if name is None or subject.store.tensors[name].shape != tensors[i].shape:
            return unchecked(check, f"`{tensors[i].name}` is missing or of another shape", how="values")
        names[i] = name
        source = source.with_tensor(tensors[i].name, i)
    difference = Difference()
    for i, name in names.items():
        difference.add(subject.store.whole(name), whole(source, subject.held, tensors[i].name))
    return compared(subject, check, difference, (difference.elements,))


def _is_found(subject: Subject, tensor: TensorInfo, parts: set[int]) -> bool:
    """Return whether a buffer gets its values with the weight, by one of the parametrizations of these identities."""
    modules = subject.live.modules
    return any(id(modules[owner]) in parts and not is_vector(modules[owner], local) for owner, local in tensor.owners)


def compared(subject: Subject, check: Check, difference: Difference, shape: Sequence[int]) -> Check:
    """Return the check of a tensor of a shape whose values were compared one by one."""
    check = replace(check, how="values")
    if subject.after_training:
        return replace(check, moved=difference.moved if difference.count else {})
    return differing(check, difference.message(shape)) if difference.count else check


def needs_code(subject: Subject, entry: PlanEntry) -> bool:
    """Return whether a module resets the entry of which only the name is known, as a file of tensors has it."""
    resets = [action.payload.module for action in entry.actions if isinstance(action.payload, Reset)]
    return any(type(subject.live.modules[module]) is nn.Module for module in resets)


@dataclass
class Difference:
    """How a tensor differs from what it should be, summed up piece by piece.

    `count` elements differ, the farthest by `largest`; `squares` is the sum of the squared differences (nan where one
    of the two is nan). `rows` are the indices of dimension 0 from the first to the last that differs, `places` those of
    the first elements that do.
    """

    count: int = 0
    largest: float = 0.0
    squares: float = 0.0
    stored: Moments = Moments()
    made: Moments = Moments()
    elements: int = 0
    rows: range = range(0)
    places: tuple[tuple[int, ...], ...] = ()

    def add(
        self,
        values: torch.Tensor,
        wanted: torch.Tensor,
        extents: Sequence[range] | None = None,
        chosen: torch.Tensor | None = None,
    ) -> None:
        """Compare a further piece, `wanted` in the dtype of `values`: a file may hold a shorter one than the model.

        `extents` say where it lies, if that is to be told, and `chosen` which of its elements are compared.
        """
        wanted = wanted.to(values.dtype)
        same = (values == wanted) | (values.isnan() & wanted.isnan())
        if chosen is not None:
            if extents is not None:
                self._place(~same & chosen, extents)
            values, wanted, same = values[chosen], wanted[chosen], same[chosen]
        elif extents is not None:
            self._place(~same, extents)
        self.elements += values.numel()
        self.stored = joined(self.stored, moments(values))
        self.made = joined(self.made, moments(wanted))
        if bool(same.all()):
            return
        self.count += int((~same).sum())
        wide = torch.complex128 if values.is_complex() else torch.float64
        away = (values.to(wide) - wanted.to(wide))[~same].abs()
        self.largest = max(self.largest, float(away.max())) if not bool(away.isnan().any()) else math.nan
        self.squares += float((away * away).sum())

    def _place(self, differs: torch.Tensor, extents: Sequence[range]) -> None:
        """Note where elements of a piece differ: in which rows, and, of a few, at which indices."""
        if not extents or not bool(differs.any()):
            return
        rows = differs.reshape(differs.shape[0], -1).any(1).nonzero().flatten() + extents[0].start
        first, last = int(rows[0]), int(rows[-1]) + 1
        self.rows = range(min(self.rows.start, first), max(self.rows.stop, last)) if self.rows else range(first, last)
        if len(self.places) <= MOST_PLACES:
            few = differs.nonzero()[: MOST_PLACES + 1].tolist()
            self.places += tuple(
                tuple(i + extent.start for i, extent in zip(place, extents, strict=True)) for place in few
            )

    @property
    def measured(self) -> dict[str, float]:
        """Mean and standard deviation of what is stored."""
        return _mean_and_std(self.stored)

    @property
    def expected(self) -> dict[str, float]:
        """Mean and standard deviation of what the rules make."""
        return _mean_and_std(self.made)

    @property
    def moved(self) -> dict[str, float]:
        """How far training has moved the tensor of which elements differ: in parts of its elements, of its norm, and as a root mean square."""
        norm = self.made.rms * math.sqrt(self.made.count) if self.made.count else 0.0
        distance = math.sqrt(self.squares)
        return {
            "moved": 1,
            "share": self.count / max(1, self.elements),
            "largest": self.largest,
            "distance": distance / norm if norm else (math.inf if distance else 0.0),
            "rms": math.sqrt(self.squares / max(1, self.elements)),
        }

    def message(self, shape: Sequence[int]) -> str:
        """Return what is wrong with a tensor of a shape."""
        numel = math.prod(shape)
        share = f"{self.count} of {numel} elements differ" if numel > 1 else "its element differs"
        return f"{share}, the farthest by {self.largest:.3g}{self._where(shape) if numel > 1 else ''}"

    def _where(self, shape: Sequence[int]) -> str:
        """Return which elements differ, of a few, or in which rows, where these are not all."""
        if 0 < self.count == len(self.places) <= MOST_PLACES:
            return ": " + ", ".join(f"[{', '.join(map(str, place))}]" for place in self.places)
        if not self.rows or len(self.rows) == shape[0]:
            return ""
        last = self.rows.stop - 1
        return f", in row {last}" if len(self.rows) == 1 else f", in rows {self.rows.start} to {last} of {shape[0]}"


def _mean_and_std(total: Moments) -> dict[str, float]:
    if not total.count and not total.other:
        return {}
    return {"mean": total.mean, "std": total.std} if not total.other else {"mean": math.nan, "std": math.nan}
