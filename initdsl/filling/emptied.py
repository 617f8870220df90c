"""What `to_empty` took apart or left without values, told where it can be known.

`net.to_empty(device=...)` gives every parameter and buffer new memory and fills none of it: tensors that were one are two
then, and what a constructor computed is gone. A tensor does not say where it comes from, so this goes by signs: the model
was seen on the meta device before, it still holds a tensor there, or nothing was ever written to its weights and they look
like it. What ties a model of transformers declares is known without any sign.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import torch
from torch import nn

from initdsl.network.description import Live, Network
from initdsl.planning.plan import Plan
from initdsl.text.diagnostic import Diagnostic, ResolveError
from initdsl.text.wording import listed

from .boxes import memory_of
from .read import held_by

__all__ = ["note_meta", "with_emptied"]


# a tensor that several places held: which module, and the name in it
Place = tuple["weakref.ref[nn.Module]", str]


@dataclass(frozen=True, eq=False)
class _Seen:
    """What a module held on the meta device when it was last seen there: its buffers, and its tensors that were shared."""

    module: weakref.ref[nn.Module]
    buffers: frozenset[str]
    shared: tuple[tuple[Place, ...], ...]


# modules that were seen on the meta device, by `id`, as long as they live
_seen: dict[int, _Seen] = {}


def note_meta(network: Network, live: Live) -> None:
    """Remember which buffers and ties of a model are on the meta device, until its modules are gone."""
    shared: dict[int, list[tuple[Place, ...]]] = {}
    buffers: dict[int, set[str]] = {}
    for info, tensor in zip(network.tensors, live.tensors, strict=True):
        if tensor is None or not tensor.is_meta:
            continue
        if len(info.owners) > 1:
            places = tuple((weakref.ref(live.modules[owner]), local) for owner, local in info.owners)
            shared.setdefault(info.owners[0][0], []).append(places)
        for owner, local in info.owners if info.kind == "buffer" else ():
            buffers.setdefault(owner, set()).add(local)
    for index in buffers.keys() | shared.keys():
        _remember(live.modules[index], buffers.get(index, ()), shared.get(index, ()))


def _remember(module: nn.Module, buffers: Iterable[str], shared: Iterable[tuple[Place, ...]]) -> None:
    key = id(module)
    reference = weakref.ref(module, lambda _: _seen.pop(key, None))
    _seen[key] = _Seen(reference, frozenset(buffers), tuple(shared))


def with_emptied(plan: Plan, live: Live, strict: bool = False) -> Plan:
    """Return a plan with remarks on what `to_empty` took apart or left without values, and no rule makes whole.

    Raises ResolveError in their place if `strict`.
    """
    found = (*_taken_apart(plan, live), *_without_values(plan, live))
    if found and strict:
        raise ResolveError([replace(finding, severity="error") for finding in found])
    return replace(plan, remarks=(*plan.remarks, *found)) if found else plan


# ---- ties


def _taken_apart(plan: Plan, live: Live) -> Iterator[Diagnostic]:
    """Yield the tensors that were one, or that their model says are one, and are several."""
    network, told = plan.network, set[frozenset[int]]()
    for why, numbers in (*(_seen_as_one(live) if _seen else ()), *_declared_as_one(network, live)):
        now = {plan.tied_to.get(number, number) for number in numbers}
        if len(now) < 2 or frozenset(now) in told:
            continue
        told.add(frozenset(now))
        labels = [network.tensors[number].label for number in sorted(set(numbers))]
        message = f"{listed(labels)} are tensors of their own, and {why}"
        hint = f"`tie {' '.join(labels)}` makes them one, and `initdsl.materialize(factory, rules)` leaves them one"
        yield Diagnostic("emptied-model", message, hint=hint, severity="warning")


# why tensors should be one, and their numbers
Group = tuple[str, list[int]]


def _seen_as_one(live: Live) -> Iterator[Group]:
    """Yield the tensors that were one on the meta device."""
    numbers = {id(tensor): number for number, tensor in enumerate(live.tensors) if tensor is not None}
    for module in live.modules:
        seen = _of(module)
        for places in seen.shared if seen is not None else ():
            held = [_held(owner, local) for owner, local in places]
            known = [numbers[id(tensor)] for tensor in held if tensor is not None and id(tensor) in numbers]
            if any(tensor is None or tensor.is_meta for tensor in held) or len(known) < len(held):
                continue
            yield "were one on the meta device: `to_empty` made several of it", known


def _of(module: nn.Module) -> _Seen | None:
    """Return what a module held when it was seen on the meta device."""
    seen = _seen.get(id(module))
    return seen if seen is not None and seen.module() is module else None


def _held(owner: weakref.ref[nn.Module], local: str) -> torch.Tensor | None:
    module = owner()
    return None if module is None else held_by(module, local)


def _declared_as_one(network: Network, live: Live) -> Iterator[Group]:
    """Yield the tensors that a model of transformers says are tied in it."""
    for info, module in zip(network.modules, live.modules, strict=True):
        if "all_tied_weights_keys" not in module.__dict__:
            continue
        declared = module.__dict__["all_tied_weights_keys"]
        for one, other in declared.items() if isinstance(declared, dict) else ():
            found = [_named(network, info.name, name) for name in (one, other)]
            if all(number is not None for number in found):
                yield f"`{type(module).__name__}` says that they are tied", [n for n in found if n is not None]


def _named(network: Network, module: str, name: Any) -> int | None:
    tensor = network.tensor_named(f"{module}.{name}" if module else str(name))
    return None if tensor is None else tensor.index


# ---- buffers


def _without_values(plan: Plan, live: Live) -> Iterator[Diagnostic]:
    """Yield the buffers that no rule speaks of and that hold what was in memory, as far as one can know."""
    left = [
        info
        for info, tensor in zip(plan.network.tensors, live.tensors, strict=True)
        if info.kind == "buffer" and tensor is not None and _untouched(tensor)
    ]
    if not left:
        return
    spoken_of = {entry.tensor.index for entry in plan.entries if entry.actions}
    everywhere = _never_written(plan.network, live)
    labels = []
    for info in left:
        if info.index in spoken_of:
            continue
        places = [(live.modules[owner], local) for owner, local in info.owners]
        if everywhere:  # the next time its parameters are filled
            for module, local in places:
                seen = _of(module)
                before, shared = (seen.buffers, seen.shared) if seen is not None else (frozenset(), ())
                _remember(module, before | {local}, shared)
        if any(_was_on_meta(module, local) for module, local in places):
            labels.append(info.label)
    if labels:
        one = len(labels) == 1
        message = (
            f"no rule sets the buffer{'s' * (not one)} {listed(labels, 3)}, and "
            f"`to_empty` has left {'it' if one else 'them'} as memory was, unless {'it was' if one else 'they were'} computed since"
        )
        hint = (
            f"`initdsl.materialize(factory, rules)` computes {'it' if one else 'them'}; `keep {labels[0]}` says that its "
            "values are right"
        )
        yield Diagnostic("emptied-model", message, hint=hint, severity="warning")


def _untouched(tensor: torch.Tensor) -> bool:
    """Return whether no operation has written to a tensor that has memory since it was made."""
    return not tensor.is_meta and not tensor.is_inference() and tensor._version == 0


def _was_on_meta(module: nn.Module, buffer: str) -> bool:
    """Return whether a module's buffer is known to have been on the meta device."""
    seen = _of(module)
    if seen is not None and buffer in seen.buffers:
        return True
    return any(isinstance(value, torch.Tensor) and value.is_meta for value in module.__dict__.values())


# so many weights are looked at, and so many elements of each
WEIGHTS, ELEMENTS = 16, 64


def _never_written(network: Network, live: Live) -> bool:
    """Return whether nothing was ever written to any parameter, and the weights of torch's layers look like it.

    torch's layers write to their weights when they are made. A copy of a layer, or one that was unpickled, has new tensors,
    but those have values that a start can have.
    """
    weights = []
    for info, tensor in zip(network.tensors, live.tensors, strict=True):
        if info.kind != "parameter" or tensor is None:
            continue
        if not _untouched(tensor):
            return False
        own = (network.modules[owner].cls.qualname.startswith("torch.nn.") for owner, _ in info.owners)
        if info.ndim > 1 and info.floating and info.problem is None and any(own):
            weights.append(tensor)
    return bool(weights) and all(_looks_unwritten(weight) for weight in islice(weights, WEIGHTS))


def _looks_unwritten(tensor: torch.Tensor) -> bool:
    """Return whether the first elements of a tensor are zeros, or numbers that no initialization gives."""
    values: Iterable[float] = memory_of(tensor).flatten()[:ELEMENTS].double().tolist()
    sizes = [abs(value) for value in values]
    return not any(sizes) or any(not math.isfinite(s) or s > 1e6 or 0 < s < 1e-30 for s in sizes)
