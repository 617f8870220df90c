"""Modules' own defaults: their `reset_parameters`, run for some of their tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext

import torch
from torch import nn

from initdsl.network.kinds import is_sharded
from initdsl.network.parts import ModuleInfo
from initdsl.planning.plan import PlanEntry
from initdsl.text.diagnostic import Diagnostic
from initdsl.text.failures import first_line
from initdsl.text.wording import listed

from .blame import StepFailed
from .boxes import memory_of
from .computed_weights import is_vector, parametrizations
from .random_state import isolated
from .run import Run
from .seeded import resetting
from .stand_ins import plain_shell, shell_of
from .unset import has_nan, left_by, sets_itself, still_left, tensors_kept

__all__ = [
    "ResetModule",
    "refuse_left",
    "reset_beside",
    "reset_computed",
    "reset_module",
    "reset_stand_ins",
]


# gives some tensors, by their numbers, what the reset of a module, by its number, gives them
ResetModule = Callable[[int, tuple[int, ...]], None]


def reset_module(run: Run, index: int, tensors: tuple[int, ...], beside: ResetModule) -> None:
    """Give tensors of a module, or of those below it, what the module's own reset gives them, and no others.

    Under a seed that is done `beside` the module.
    """
    module = run.live.modules[index]
    held = {number: tensor for number in tensors if (tensor := run.live.tensors[number]) is not None}
    if tensors and not held:
        return
    if run.seed is not None:
        beside(index, tuple(held))
        return
    network = run.plan.network
    own = {id(tensor) for tensor in held.values()}
    others = [(tensor, tensor.detach().clone()) for tensor in _beside(run, index) if id(tensor) not in own]
    looked_at = {number: tensor for number, tensor in held.items() if _may_be_left(run, number, tensor)}
    valueless = _valueless(run, {number: memory_of(tensor) for number, tensor in looked_at.items()})
    first = {
        number: memory_of(tensor).clone()
        for number, tensor in looked_at.items()
        if number not in valueless or not bool(valueless[number].all())
    }

    def before() -> dict[int, torch.Tensor]:
        memories = {number: memory_of(tensor) for number, tensor in looked_at.items()}
        for number, values in first.items():
            memories[number].copy_(values)
        for tensor, values in others:
            tensor.copy_(values)
        return memories

    def reset() -> dict[int, torch.Tensor]:
        call_reset(run, network.modules[index], module)
        return {number: memory_of(tensor) for number, tensor in looked_at.items()}

    # what is drawn for a parameter that a rule sets is not drawn for the buffers beside it
    draws = any(network.tensors[number].kind != "buffer" for number in tensors)
    with nullcontext() if draws else isolated(None):
        note_left(run, held, left_by(reset, before, valueless) if looked_at else reset())
    for tensor, values in others:
        tensor.copy_(values)


def _may_be_left(run: Run, number: int, tensor: torch.Tensor) -> bool:
    """Return whether it is not known that a reset sets a tensor; buffers with memory have their constructor's values.

    Of a sharded tensor no rank knows what there is.
    """
    info = run.plan.network.tensors[number]
    if info.kind == "buffer" and not run.is_new(info):
        return False
    if any(is_vector(run.live.modules[owner], local) for owner, local in info.owners):
        return False  # it follows its weight
    if is_sharded(tensor):
        return True
    expanded = 0 in tensor.stride()  # it can't hold marks
    return not expanded and not sets_itself(run.plan.network, run.live, info)


def _valueless(run: Run, memories: Mapping[int, torch.Tensor]) -> dict[int, torch.Tensor]:
    """Return which elements of tensors, or of stand-ins for them, have no value that a reset could build on."""
    valueless = {}
    for number, memory in memories.items():
        if run.is_new(run.plan.network.tensors[number]) or (
            is_sharded(run.live.tensors[number]) and not has_nan(memory)
        ):
            mask = run.left.get(number, torch.ones_like(memory, dtype=torch.bool))
            if mask is not None:
                valueless[number] = mask
    return valueless


def note_left(run: Run, reset: Iterable[int], left: Mapping[int, torch.Tensor]) -> None:
    """Note which elements of the tensors that are `reset` are as they were, so far: another reset may set them."""
    for number in reset:
        if number not in left:
            run.left[number] = None
        elif number not in run.left:
            run.left[number] = left[number]
        elif (earlier := run.left[number]) is not None:
            run.left[number] = earlier & left[number]


def _beside(run: Run, index: int) -> Iterator[torch.Tensor]:
    """Yield the tensors of a module, and of those below it, that its own reset is not to change unless it is asked to.

    Buffers of modules without a reset are left to it: nothing else sets them.
    """
    network = run.plan.network
    yield from run.live.modules[index].parameters()
    for below in network.reachable(index):
        module = network.modules[below]
        for number in module.state.values() if module.buffers else ():
            buffer = run.live.tensors[number]
            if network.tensors[number].kind == "buffer" and (module.reset is not None or number in run.set_buffers):
                assert buffer is not None
                yield buffer


def call_reset(run: Run, info: ModuleInfo, module: nn.Module) -> None:
    """Call a module's own reset. Raises StepFailed."""
    # a reset that looks at a computed weight moves spectral norm's vectors, to those of what is not its weight yet
    vectors = []
    if run.seed is not None or run.fresh:
        vectors = [(buffer, buffer.clone()) for chain in parametrizations(module) for buffer in chain.buffers()]
    try:
        with tensors_kept(module):
            getattr(module, info.reset or "")()
        for buffer, values in vectors:
            buffer.copy_(values)
    except Exception as error:
        call = f"`{info.cls.name}.{info.reset}`"
        message = f"{call} raised {type(error).__name__} for `{info.label}`: {first_line(error)}"
        raise StepFailed(Diagnostic("fill-failed", message), error) from error


def reset_beside(run: Run, index: int, tensors: tuple[int, ...]) -> None:
    """Give tensors what a module's own reset gives plain float32 stand-ins for all of its parameters.

    So dtype, layout and sharding don't show in the values, and nothing else is written to.
    """
    values = reset_stand_ins(run, index, tensors)
    for number, stand_in in values.items():
        tensor = run.live.tensors[number]
        assert tensor is not None
        tensor.detach().copy_(stand_in)


def reset_stand_ins(run: Run, index: int, tensors: tuple[int, ...]) -> dict[int, torch.Tensor]:
    """Return what a module's own reset gives stand-ins for tensors, by number, run under the seed.

    What it leaves alone is noted, and not there.
    """
    info, module = run.plan.network.modules[index], run.live.modules[index]
    stand_ins: dict[int, torch.Tensor] = {}
    shells = [shell_of(module, stand_ins)]
    held = {n: tensor for n in tensors if (tensor := run.live.tensors[n]) is not None and id(tensor) in stand_ins}
    looked_at = [number for number, tensor in held.items() if _may_be_left(run, number, tensor)]

    def values() -> dict[int, torch.Tensor]:
        return {number: stand_ins[id(held[number])].detach() for number in looked_at}

    def before() -> dict[int, torch.Tensor]:
        stand_ins.clear()
        shells[0] = shell_of(module, stand_ins)
        return values()

    def reset() -> dict[int, torch.Tensor]:
        with resetting(run.seed, info.name):
            call_reset(run, info, shells[0])
        return values()

    left = left_by(reset, before, _valueless(run, values())) if looked_at else {}
    if not looked_at:
        reset()
    note_left(run, held, left)
    gone = {number for number, mask in left.items() if bool(mask.all())}
    return {number: stand_ins[id(tensor)].detach() for number, tensor in held.items() if number not in gone}


def reset_computed(run: Run, entry: PlanEntry, value: torch.Tensor) -> torch.Tensor:
    """Return what a module's own reset gives a weight that it computes, and that has this value. Raises StepFailed."""
    owner, local = entry.tensor.owners[0]
    info, module, number = run.plan.network.modules[owner], run.live.modules[owner], entry.tensor.index
    shells = [module]

    def before() -> dict[int, torch.Tensor]:
        shells[0] = plain_shell(module, local, value)
        return weight()

    def weight() -> dict[int, torch.Tensor]:
        parameter = shells[0]._parameters[local]
        assert parameter is not None
        return {number: parameter.detach()}

    def reset() -> dict[int, torch.Tensor]:
        with resetting(run.seed, info.name):
            getattr(shells[0], info.reset or "")()
        return weight()

    valueless = {number: torch.ones_like(value, dtype=torch.bool)} if run.fresh or run.is_new(entry.tensor) else {}
    _refuse([left.label for left in still_left(left_by(reset, before, valueless), [entry])])
    return weight()[number]


# ---- what a reset leaves unset


def refuse_left(run: Run, entries: Iterable[PlanEntry]) -> None:
    """Refuse entries that their modules' resets left as they were. Raises StepFailed."""
    left = {number: mask for number, mask in run.left.items() if mask is not None}
    _refuse([entry.label for entry in still_left(left, entries)])


def _refuse(unset: list[str]) -> None:
    if unset:
        message = f"the reset of their modules leaves these unset: {listed(unset, 12)}"
        raise StepFailed(
            Diagnostic("no-default", message, hint="give them rules of their own"), ValueError("a value is missing")
        )
