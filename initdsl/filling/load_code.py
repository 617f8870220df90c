"""Modules with code of their own for `load_state_dict`: whether it gives tensors other values than the file has.

`load` takes a tensor as the file has it under its name. Such code may take another one, or change it: then `load` of the
module would mean something else than `load_state_dict`, and is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from initdsl.checkpoints.open import open_store
from initdsl.checkpoints.store import Described
from initdsl.network.description import Live
from initdsl.network.kinds import load_code
from initdsl.planning.actions import Load
from initdsl.planning.plan import Plan, PlanEntry
from initdsl.planning.resolve import selections
from initdsl.text.diagnostic import Diagnostic, ResolveError
from initdsl.text.failures import first_line

from .random_state import everything_unmoved
from .read import held_by
from .stand_ins import shell_of
from .unset import written_by

__all__ = ["refuse_load_code"]


def refuse_load_code(plan: Plan, live: Live) -> None:
    """Refuse to load a module from a file where `load_state_dict` would give one of its tensors something else.

    The model's code runs on stand-ins without memory. Raises ResolveError.
    """
    if not any(isinstance(action.payload, Load) for action in plan.actions):
        return
    by_code = [(index, code) for index, module in enumerate(live.modules) if (code := load_code(module)) is not None]
    loaded = _loaded_with_modules(plan) if by_code else {}
    problems = []
    for index, code in by_code:
        below = dict(_loaded_below(plan, index, loaded))
        problem = _problem(plan, live, index, code, below) if below else None
        problems += [] if problem is None else [problem]
    if problems:
        raise ResolveError(problems)


def _loaded_with_modules(plan: Plan) -> dict[int, tuple[PlanEntry, int]]:
    """Return the entries, by tensor, that hold what a file has for a module, each with the module that is loaded."""
    entries = {e.tensor.index: e for e in plan.entries if e.base is not None and isinstance(e.base.payload, Load)}
    clauses = {entry.base.clause.number for entry in entries.values() if entry.base is not None}
    modules: dict[tuple[int, int], int] = {}
    for clause, selection in selections(plan) if clauses else ():
        if clause.number in clauses:
            for number, found in selection.by_tensor.items():
                modules.update(((clause.number, number), match.scope[0]) for match in found if match.scope)
    loaded = {n: (e, modules.get((e.base.clause.number, n))) for n, e in entries.items() if e.base is not None}
    return {number: (entry, module) for number, (entry, module) in loaded.items() if module is not None}


def _loaded_below(
    plan: Plan, index: int, loaded: Mapping[int, tuple[PlanEntry, int]]
) -> Iterator[tuple[str, PlanEntry]]:
    """Yield what is loaded of a module and those below it, by its names relative to the module.

    A module around the one that is loaded counts where the file has its names.
    """
    network = plan.network
    bases = [f"{name}." if name else "" for name in network.module_names(index)]
    inside = {module: index in network.reachable(module) for module in {module for _, module in loaded.values()}}
    numbers = {number for part in network.reachable(index) for number in network.modules[part].state.values()}
    for number in sorted(numbers & loaded.keys()):
        entry, module = loaded[number]
        names = network.names(network.tensors[number])
        relative = [name[len(base) :] for name in names for base in bases if name.startswith(base)]
        if inside[module] or any(_has_name(entry, name) for name in relative):
            yield from ((name, entry) for name in relative)


def _has_name(entry: PlanEntry, name: str) -> bool:
    """Return whether a tensor stands in its file under a name, or that with a prefix."""
    load = entry.base.payload if entry.base is not None else None
    return isinstance(load, Load) and f".{load.key}".endswith(f".{name}")


def _problem(plan: Plan, live: Live, index: int, code: str, below: Mapping[str, PlanEntry]) -> Diagnostic | None:
    """Return what is wrong with loading some tensors, by their names in a module that has code of its own."""
    stand_ins: dict[int, torch.Tensor] = {}
    shell = shell_of(live.modules[index], stand_ins, "meta")
    held, given = dict[str, torch.Tensor](), dict[str, torch.Tensor]()
    for name, entry in below.items():
        tensor = live.tensors[entry.tensor.index]
        # a computed weight is loaded through what it is computed from
        if tensor is not None and id(tensor) in stand_ins:
            held[name] = stand_ins[id(tensor)]
            given[name] = torch.empty(entry.shape, dtype=held[name].dtype, device="meta")
    for name, described in _beside(below):  # under old names, say
        given.setdefault(name, torch.empty(described.shape, dtype=described.dtype, device="meta"))
    owner = f"`{code}` of `{plan.network.modules[index].label}`"
    with everything_unmoved(), torch.no_grad(), _Copies() as copies:
        try:
            shell.load_state_dict(dict(given), strict=False)
        except Exception as error:
            message = f"{owner} takes part in `load_state_dict`, and can't be tried without values: {first_line(error)}"
            return _diagnostic(plan, next(iter(below.values())), message)
    for name, tensor in held.items():
        path, _, local = name.rpartition(".")
        now = held_by(shell.get_submodule(path), local)
        if now is not tensor or copies.into.get(tensor.untyped_storage()._cdata) != [_place(given[name])]:
            message = f"{owner} gives `{below[name].label}` something else than what the file has for it"
            return _diagnostic(plan, below[name], message)
    return None


def _beside(below: Mapping[str, PlanEntry]) -> Iterator[tuple[str, Described]]:
    """Yield what a file has of a module, by its name in that, if all that is loaded of it stands there under one prefix."""
    loads = [(name, e.base.payload) for name, e in below.items() if e.base is not None]
    places = {(p.path, p.key.removesuffix(name)) for name, p in loads if isinstance(p, Load) and p.key.endswith(name)}
    if len(places) == 1:
        path, prefix = places.pop()
        for key, described in open_store(path).tensors.items():
            if key.startswith(prefix):
                yield key.removeprefix(prefix), described


def _diagnostic(plan: Plan, entry: PlanEntry, message: str) -> Diagnostic:
    assert entry.base is not None
    payload, rule = entry.base.payload, entry.base.clause.rule
    assert isinstance(payload, Load)
    hint = (
        "`load` runs no code of the model: call `load_state_dict` yourself and `keep` the module, or name the tensor to take "
        f'it as it is, `{entry.label} = load(..., key="{payload.key}")`'
    )
    return Diagnostic("bad-load", message, plan.rules.source(rule.source), rule.span, hint)


# where a tensor's values are: its memory, and its layout in it
Place = tuple[int, int, tuple[int, ...], tuple[int, ...]]


def _place(tensor: torch.Tensor) -> Place:
    storage = tensor.untyped_storage()._cdata
    return storage, int(tensor.storage_offset()), tuple(tensor.shape), tuple(tensor.stride())


class _Copies(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes what is written into tensors, by their memory: the place of what was copied, None for anything else.

    Tensors with memory that was not allocated meanwhile are somebody's: writing to one raises RuntimeError.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.into: dict[int, list[Place | None]] = {}
        self.allocated: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        for target in written_by(func, args, kwargs):
            memory = target.untyped_storage()._cdata
            if not target.is_meta and memory not in self.allocated:
                raise RuntimeError("it writes to a tensor that is there")
            copied = _place(args[1]) if func is torch.ops.aten.copy_.default else None
            self.into.setdefault(memory, []).append(copied)
        given = _memories((args, kwargs))
        result = func(*args, **kwargs)
        self.allocated |= _memories(result) - given
        return result


def _memories(tree: object) -> set[int]:
    return {each.untyped_storage()._cdata for each in tree_leaves(tree) if isinstance(each, torch.Tensor)}
