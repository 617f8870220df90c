"""A stage of a pipeline as a part of its whole model: rules are resolved on the whole, and the stage gets its part."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from initdsl.network.describe import describe
from initdsl.network.description import Live, Network
from initdsl.network.parts import TensorInfo
from initdsl.text.diagnostic import Diagnostic, ResolveError
from initdsl.text.failures import reason
from initdsl.text.wording import listed, nearest

from .plan import Plan, tensors_by_first

if TYPE_CHECKING:
    from torch import nn

    # what is given as a whole network: a module (on the meta device, say), its description, or the path of a manifest
    Whole = nn.Module | Network | str | os.PathLike[str]

__all__ = ["Joined", "join", "live_of", "part_of_plan", "whole_network"]


@dataclass(frozen=True)
class Joined:
    """A whole model and the stage of it that is here: `Joined(model, live, frozenset([4, 5]))`.

    `network` is the whole one, with what is true here of the tensors, by number, that the stage has: those `held`. `live`
    are the stage's modules and tensors by the whole model's numbers, None of a stage that is described. `names` are all
    that its tensors have.
    """

    network: Network
    live: Live | None
    held: frozenset[int]
    names: frozenset[str]


# ---- what is given


def whole_network(whole: object) -> Network:
    """Return the whole model as a value. Raises TypeError, and OSError or ValueError for a manifest that can't be read."""
    if isinstance(whole, Network):
        return replace(whole, is_whole=True)
    if isinstance(whole, str | os.PathLike):
        return replace(_read(os.fspath(whole)), is_whole=True)
    if not hasattr(whole, "named_modules"):
        what = "a model, its description or the path of a manifest"
        raise TypeError(f"`whole` is {what}, not {type(whole).__name__}")
    network, _ = describe(whole)  # type: ignore[arg-type]
    return replace(network, is_whole=True)


def _read(path: str) -> Network:
    try:
        return Network.from_manifest_file(path)
    except OSError as error:
        raise OSError(f"can't read the manifest `{path}`: {reason(error)}") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"`{path}` is no manifest of a whole model: {error}") from None


# ---- joined


def join(whole: Network, stage: Network, live: Live | None) -> Joined:
    """Return a whole model with the stage of it that is here. Raises ResolveError where it is no part of the whole."""
    numbers = _numbers(whole, stage)
    tensors = list(whole.tensors)
    for own, number in numbers.items():
        here = stage.tensors[own]
        tensors[number] = tensors[number]._replace(
            requires_grad=here.requires_grad,
            device=here.device,
            problem=here.problem,
            sharded=here.sharded,
            loaded=here.loaded,
        )
    places = _module_places(whole, stage)
    modules = list(whole.modules)
    for number, own in places.items():
        modules[number] = modules[number]._replace(reset=stage.modules[own].reset)
    network = Network(tuple(modules), tuple(tensors), True)
    names = frozenset(name for own in numbers for name in stage.names(stage.tensors[own]))
    own_live = None if live is None else _live(network, live, numbers, places)
    return Joined(network, own_live, frozenset(numbers.values()), names)


def _numbers(whole: Network, stage: Network) -> dict[int, int]:
    """Return the number in the whole model of every tensor of a stage, by its number there. Raises ResolveError."""
    numbers: dict[int, int] = {}
    unknown: list[str] = []
    differences: list[str] = []
    owners: dict[int, int] = {}  # by a number in the whole network, that of the stage's tensor
    for tensor in stage.tensors:
        named = {name: whole.tensor_named(name) for name in stage.names(tensor)}
        missing = [name for name, there in named.items() if there is None]
        if missing:
            unknown += missing if tensor.kind != "buffer" else []  # a constant that was traced, say
            continue
        of_name = {name: there for name, there in named.items() if there is not None}
        first = next(iter(of_name.values()))
        difference = _difference(tensor, of_name) or _untied(stage, owners, tensor, first)
        differences += [] if difference is None else [difference]
        owners[first.index] = tensor.index
        numbers[tensor.index] = first.index
    problems = [_unknown(whole, unknown)] if unknown else []
    if differences:
        more = f"; {len(differences) - 1} more differ" if len(differences) > 1 else ""
        hint = "give the whole model as it is built for the stages, with their shapes, dtypes and ties"
        problems.append(Diagnostic("other-in-the-whole", f"{differences[0]}{more}", hint=hint))
    if problems:
        raise ResolveError(problems)
    return numbers


def _difference(tensor: TensorInfo, named: Mapping[str, TensorInfo]) -> str | None:
    """Return how a tensor of a stage differs from what the whole model has under its names; None where it does not."""
    name, there = next(iter(named.items()))
    others = [other for other, each in named.items() if each.index != there.index]
    if others:
        return f"`{name}` and `{others[0]}` are one tensor in the stage, and two in the whole model"
    for what, here, whole in (
        ("shape", list(tensor.shape), list(there.shape)),
        ("dtype", tensor.dtype, there.dtype),
        ("kind", tensor.kind, there.kind),
    ):
        if here != whole and "lazy" not in (tensor.problem, there.problem):
            return f"`{name}` has {what} {here} in the stage, and {whole} in the whole model"
    return None


def _untied(stage: Network, owners: Mapping[int, int], tensor: TensorInfo, there: TensorInfo) -> str | None:
    """Return that a stage has two tensors where the whole model has one; None where it has not."""
    if there.index not in owners:
        return None
    other = stage.tensors[owners[there.index]]
    return f"`{other.name}` and `{tensor.name}` are two tensors in the stage, and one in the whole model"


def _unknown(whole: Network, names: list[str]) -> Diagnostic:
    keep = "a stage keeps the names of the whole model: with an `nn.ModuleDict` layers keep their keys when others go"
    near = nearest(names[0], [tensor.name for tensor in whole.tensors])
    message = f"the whole model has no {listed(names, 12)}" + (f"; the nearest is `{near}`" if near else "")
    return Diagnostic("not-in-the-whole", message, hint=keep)


def _module_places(whole: Network, stage: Network) -> dict[int, int]:
    """Return the number in a stage of every module of the whole model that it has, by its number there."""
    places: dict[int, int] = {}
    stack = [(0, 0)]
    while stack:
        there, here = stack.pop()
        if there in places:
            continue
        places[there] = here
        children = whole.modules[there].children
        stack += [(children[name], child) for name, child in stage.modules[here].children.items() if name in children]
    return places


def _live(network: Network, live: Live, numbers: Mapping[int, int], places: Mapping[int, int]) -> Live:
    """Return the modules and tensors of a stage by the numbers of the whole model."""
    from torch import nn

    nothing = nn.Module()
    modules = [live.modules[places[m.index]] if m.index in places else nothing for m in network.modules]
    by_number = {number: live.tensors[own] for own, number in numbers.items()}
    tensors = [by_number.get(info.index) for info in network.tensors]
    elsewhere = frozenset(info.index for info in network.tensors if info.index not in by_number)
    return Live(modules, tensors, elsewhere, frozenset(m.index for m in network.modules if m.index not in places))


# ---- the plan of a stage


def part_of_plan(plan: Plan, joined: Joined) -> Plan:
    """Return what a plan of the whole model does to the stage that is here. Raises ResolveError.

    It keeps the plan of the whole, from which what the stage reads of others is made anew.
    """
    held = _with_tied(plan, joined)
    resets = [(m, tuple(t for t in tensors if t in held)) for m, tensors in plan.resets]
    part = replace(
        plan,
        entries=tuple(e for e in plan.entries if e.tensor.index in held),
        order=tuple(e for e in plan.order if e.tensor.index in held),
        resets=tuple((m, tensors) for m, tensors in resets if tensors),
        ties=tuple(tie for tie in plan.ties if any(other in held for other in tie.others) and tie.source in held),
        expected=tuple(e for e in plan.expected if e.tensor in held),
        whole=plan,
    )
    _refuse_unset_ties(part, joined)
    return part


def live_of(plan: Plan, joined: Joined) -> Live | None:
    """Return the modules and tensors of a stage like that of a plan; None where they are of another stage."""
    held = _with_tied(plan, joined)
    here = {entry.tensor.index for entry in plan.entries}
    return (
        joined.live
        if here == {e.tensor.index for e in (plan.whole or plan).entries if e.tensor.index in held}
        else None
    )


def _with_tied(plan: Plan, joined: Joined) -> frozenset[int]:
    """Return the tensors that are held, by number, with those that rules tie to one of them.

    What the stage has of a tensor of several names stands for the tensor.
    """
    held = set(joined.held)
    for first, others in tensors_by_first(plan.tied_to).items():
        members = [number for number in (first, *others) if number in joined.held]
        if members and first not in held:
            held.add(first)
            if joined.live is not None:
                joined.live.tensors[first] = joined.live.tensors[members[0]]
    if joined.live is not None:
        joined.live.elsewhere = joined.live.elsewhere - held
    return frozenset(held)


def _refuse_unset_ties(part: Plan, joined: Joined) -> None:
    """Refuse tensors that other stages hold under other names, where the rules don't give all of them the same values."""
    problems = []
    for entry in part.entries:
        if entry.status not in ("uncovered", "partial") and not (entry.edits and entry.base and entry.base.keeps):
            continue
        absent = [name for name in entry.aliases if name not in joined.names]
        if absent:
            here = next((name for name in entry.aliases if name not in absent), entry.name)
            message = f"`{here}` is one tensor with {listed(absent)} of another stage, and no rule sets its values"
            hint = "set it by a rule, so that both get the same values; or say `keep`, where they have them already"
            problems.append(Diagnostic("tie-across-stages", message, hint=hint))
    if problems:
        raise ResolveError(problems)
