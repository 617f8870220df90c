"""Names, shapes, dtypes and ties of what is stored, held against the model's and the plan's."""

from __future__ import annotations

import torch

from initdsl.checkpoints.store import Store, Tensors
from initdsl.network.description import Live
from initdsl.network.parts import TensorInfo
from initdsl.text.wording import listed

from .subject import Subject

__all__ = ["structure_of"]


def structure_of(subject: Subject) -> tuple[list[str], list[str]]:
    """Return what is wrong with names, shapes and ties, and what is worth knowing of dtypes."""
    missing, problems, shorter = [], [], dict[tuple[str, str], list[str]]()
    covered = _of_stage(subject)
    for info in subject.plan.network.tensors:
        if info.kind == "parametrized" or (covered is not None and info.index not in covered):
            continue
        name = subject.stored(subject.plan.names_of(info.index))
        if name is None:
            if info.kind == "parameter" or _is_persistent(subject.live, info):
                missing.append(info.name)
            continue
        stored = subject.store.tensors[name]
        dtype: torch.dtype = getattr(torch, info.dtype)
        if stored.shape != info.shape:
            problems.append(f"`{info.name}` has shape {list(stored.shape)}, not {list(info.shape)}")
        elif stored.dtype != dtype and stored.dtype.is_floating_point == dtype.is_floating_point:
            shorter.setdefault((_plain_dtype(stored.dtype), info.dtype), []).append(info.name)
        elif stored.dtype != dtype:
            problems.append(f"`{info.name}` is {_plain_dtype(stored.dtype)}, not {info.dtype}")
    if missing:
        problems.append(f"{len(missing)} missing: {listed(missing, 8)}")
    return [*problems, *_further(subject), *_ties(subject)], [
        _dtype_note(*pair, names) for pair, names in shorter.items()
    ]


def _of_stage(subject: Subject) -> set[int] | None:
    """Return the tensors, by number, that a stage of a pipeline may hold; None where the model is no stage."""
    plan = subject.plan
    if plan.whole is None:
        return None
    return {entry.tensor.index for entry in plan.entries} | {
        info.index for info in plan.network.tensors if subject.stored(plan.names_of(info.index)) is not None
    }


def _dtype_note(stored: str, dtype: str, names: list[str]) -> str:
    tensors = f"{len(names)} tensors are" if len(names) > 1 else f"`{names[0]}` is"
    return f"{tensors} {stored} there and {dtype} in the model: compared as {stored}"


def _further(subject: Subject) -> list[str]:
    """Return what is stored and no tensor of the model; a model itself may hold more than its state dict."""
    store, network = subject.store, subject.plan.network
    if isinstance(store, Tensors) and store.where == "the model":
        return []
    expected = {name for info in network.tensors for name in network.names(info)}
    further = [name for name in store.tensors if name not in expected]
    return [f"{len(further)} that the model has not: {listed(further, 8)}"] if further else []


def _ties(subject: Subject) -> list[str]:
    """Return where tensors are tied and should not be, or should be and are not."""
    store, problems = subject.store, []
    for entry in subject.plan.entries:
        firsts = sorted({store.others.get(name, name) for name in entry.names if name in store.tensors})
        if len(firsts) < 2:
            continue
        names = " and ".join(f"`{name}`" for name in firsts)
        if isinstance(store, Tensors):
            problems.append(f"{names} are to be one tensor, and are not tied")
        elif not _equal(store, firsts):
            problems.append(f"{names} are to be one tensor, and differ")
    tensor_of = {name: entry.tensor.index for entry in subject.plan.entries for name in entry.names}
    for name, first in store.others.items():
        if name in tensor_of and first in tensor_of and tensor_of[name] != tensor_of[first]:
            problems.append(f"`{name}` and `{first}` are tied, and nothing says so")
    return problems


def _equal(store: Store, names: list[str]) -> bool:
    first = store.whole(names[0])
    return all(store.tensors[n].shape == tuple(first.shape) and torch.equal(store.whole(n), first) for n in names[1:])


def _is_persistent(live: Live, info: TensorInfo) -> bool:
    """Return whether a buffer is saved with the model."""
    return any(local not in live.modules[owner]._non_persistent_buffers_set for owner, local in info.owners)


def _plain_dtype(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
