"""What a plan makes of each tensor, in a form in which two plans compare: by names, and not by how rules say it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from initdsl.initializers import Constant, Distribution, Initializer, Normal, Random, TruncatedNormal
from initdsl.language.syntax.nodes import Assign
from initdsl.planning.actions import Action, CopyFrom, Draw, Expression, Kept, Payload, Reset, Value
from initdsl.planning.plan import Plan, PlanEntry
from initdsl.planning.program import Apply, Drawn, Element, Load, Program, Read, Ref, Stored, Target
from initdsl.statistics.predicted import affine_distribution, expected

__all__ = ["Core", "Made", "Said", "core_of", "cores_of", "digits", "made", "program_key"]


@dataclass(frozen=True, slots=True)
class Made:
    """What one plan makes of one tensor: `Made("0.weight", ..., writes=(("=", None, None, Normal(0, 0.02)),))`.

    `writes` are equal for two plans exactly if they do the same to a tensor, whatever the numbers of tensors and
    clauses. `streams` say, under a seed, which streams of it are drawn; without a seed they are empty. `text` is the
    whole in short, `std` the deviation that the rules promise, if they promise one.
    """

    name: str
    label: str
    shape: tuple[int, ...]
    dtype: str
    kind: str
    status: str
    writes: tuple[Any, ...]
    streams: tuple[Any, ...]
    text: str
    std: float | None
    statements: tuple[tuple[str, str], ...]


class Core(NamedTuple):
    """What decides whether two plans do the same to a tensor: cheap, for every tensor there is.

    `reads` are the names of the tensors whose values it takes; `adjusts` says that it is fitted to a sample at the end.
    """

    shape: tuple[int, ...]
    dtype: str
    status: str
    writes: tuple[Any, ...]
    streams: tuple[Any, ...]
    reads: tuple[str, ...] = ()
    adjusts: bool = False


def cores_of(plan: Plan) -> dict[str, tuple[PlanEntry, Core]]:
    """Return what is compared of every entry, by its name; tensors that are alike share one core."""
    shared: dict[Any, Core] = {}
    cores = {}
    for entry in plan.entries:
        key = (id(entry.base), *map(id, entry.edits), entry.tensor.shape, entry.tensor.dtype)
        core = shared.get(key)
        if core is None:
            core = core_of(plan, entry)
            if not core.reads and not any(isinstance(action.payload, Reset) for action in entry.actions):
                shared[key] = core
        cores[entry.aliases[0]] = (entry, core)
    return cores


def core_of(plan: Plan, entry: PlanEntry) -> Core:
    """Return what is compared of an entry."""
    writes, streams = tuple(_writes(plan, entry)), tuple(_streams(plan, entry))
    reads = tuple(_name(plan, tensor) for tensor in entry.reads)
    return Core(entry.shape, entry.dtype, entry.status, writes, streams, reads, entry.adjusts)


# what is said of tensors that share a core, by its identity: deviation, text and statements
Said = dict[int, tuple[float | None, str, tuple[tuple[str, str], ...]]]


def made(entry: PlanEntry, core: Core, said: Said) -> Made:
    """Return what is said of an entry; `said` keeps what alike ones share, as long as their cores live."""
    if id(core) not in said:
        said[id(core)] = (*_said(entry), tuple(entry.statements))
    std, text, statements = said[id(core)]
    tensor = entry.tensor
    about = (tensor.shape, tensor.dtype, tensor.kind, core.status, core.writes, core.streams)
    return Made(entry.aliases[0], entry.label, *about, text, std, statements)


def _said(entry: PlanEntry) -> tuple[float | None, str]:
    """Return the deviation that is promised, if one is, and what is done in short."""
    if entry.distribution is not None:
        return _of_distribution(entry.distribution)
    promise = expected(entry)
    return None if promise is None else promise.std, _text(entry)


@lru_cache(maxsize=4096)
def _of_distribution(distribution: Distribution) -> tuple[float, str]:
    return distribution.std, str(distribution)


def _writes(plan: Plan, entry: PlanEntry) -> Iterator[Any]:
    """Yield what is written, one after the other; a draw that numbers move and scale is the distribution it comes to."""
    whole = entry.distribution or affine_distribution(entry)
    if whole is not None:
        yield ("=", None, None, _uncut(whole))
        return
    for action in entry.actions:
        # whether a whole is drawn or set is said by what it is
        operator = "=" if action.operator == "~" else action.operator
        yield (operator, action.view, _index(action.index), _what(plan, entry, action.payload))


def _index(index: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
    """Return an index as values that compare and hash: slices did not before Python 3.12."""
    if index is None:
        return None
    return tuple((item.start, item.stop, item.step) if isinstance(item, slice) else item for item in index)


def _what(plan: Plan, entry: PlanEntry, payload: Payload) -> Any:
    match payload:
        case Value():
            return Constant(payload.value)
        case TruncatedNormal():
            return _uncut(payload)
        case Draw():
            return (_initializer(payload.initializer), tuple(sorted(payload.arguments.items(), key=_first)))
        case CopyFrom():
            return ("copy of", _name(plan, payload.tensor))
        case Reset():
            module = plan.network.modules[payload.module]
            return ("default of", module.cls.qualname)
        case Kept():
            return "kept"
        case Expression():
            return _program(plan, payload.program)
        case _:
            return payload


def _first(pair: tuple[str, Any]) -> str:
    return pair[0]


def _initializer(initializer: Initializer) -> tuple[str, str, str]:
    function = initializer.function
    return (initializer.name, getattr(function, "__module__", ""), getattr(function, "__qualname__", ""))


def _name(plan: Plan, tensor: int) -> str:
    return plan.network.tensors[plan.tied_to.get(tensor, tensor)].name


def _program(plan: Plan, program: Program) -> Any:
    """Return an expression as nested tuples, each step in the place of those that use it named by its number."""
    steps: list[Any] = []
    for step in program.steps:
        match step:
            case Read():
                steps.append(("read", _name(plan, step.tensor)))
            case Target():
                steps.append(("target", step.whole))
            case Stored():
                steps.append(step.load)
            case Drawn():
                steps.append(("drawn", _initializer(step.initializer), _operands(step.arguments)))
            case Element():
                steps.append(("element", step.base.step, _index(step.items)))
            case Apply():
                steps.append((step.function, _operands(step.operands), _operands(step.keywords)))
    return (tuple(steps), _operands(program.result))


def program_key(plan: Plan, program: Program) -> Any:
    """Return an expression as nested tuples of words and numbers, the same on every machine: files go by their names."""
    steps, result = _program(plan, program)
    plain = tuple(("load", os.path.basename(s.path), s.key, s.shape) if isinstance(s, Load) else s for s in steps)
    return _rounded(plain), _rounded(result)


def digits(value: float) -> str:
    """Return a number to the 12 digits that every system agrees on."""
    return f"{value:.12g}" if isinstance(value, float) else str(value)


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return digits(value)
    return tuple(map(_rounded, value)) if isinstance(value, tuple) else value


def _operands(value: Any) -> Any:
    if isinstance(value, Ref):
        return ("step", value.step)
    return tuple(_operands(item) for item in value) if isinstance(value, tuple) else value


def _streams(plan: Plan, entry: PlanEntry) -> Iterator[Any]:
    """Yield which streams are drawn from: under one seed, equal ones give tensors of one name equal values."""
    for action in entry.actions:
        if isinstance(action.payload, Reset):
            yield (plan.seed, "default", plan.network.modules[action.payload.module].name)
        elif action.draws:
            yield (plan.seed, action.stream, action.stream_strides, action.operator, _drawn(action))


def _drawn(action: Action) -> Any:
    """Return the distribution before edits: what is scaled afterwards is rounded otherwise."""
    return _uncut(action.payload) if isinstance(action.payload, Random) else None


# standard deviations beyond which a normal has no value that a float64 tells from none
FAR = 39.0


def _uncut(distribution: Distribution) -> Distribution:
    """Return a truncated normal whose bounds cut nothing off as the normal that it is: the values are the same."""
    if isinstance(distribution, TruncatedNormal) and distribution.scale:
        low, high = (bound - distribution.loc for bound in (distribution.low, distribution.high))
        if min(-low, high) >= FAR * distribution.scale:
            return Normal(distribution.loc, distribution.scale)
    return distribution


def _text(entry: PlanEntry) -> str:
    """Return what is done in short: `normal(0, 0.02)`, `0`, `~ orthogonal(); *= 0.5`."""
    whole = affine_distribution(entry)
    if whole is not None:
        return str(whole)
    texts = []
    for action in entry.actions:
        payload, rule = action.payload, action.clause.rule
        plain = action.index is None and action.view is None and isinstance(rule, Assign)
        if plain and action.operator in ("=", "~") and isinstance(payload, Distribution | Value | Draw):
            texts.append(str(payload))
        else:
            texts.append(action.effect)
    return "; ".join(dict.fromkeys(texts)) or ("kept" if entry.status == "kept" else "as it was")
