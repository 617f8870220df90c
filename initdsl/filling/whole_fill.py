"""Entries filled as a whole: every action sees all of the tensor."""

from __future__ import annotations

from collections.abc import Callable

import torch

from initdsl.planning.actions import Action, Kept, Reset
from initdsl.planning.plan import PlanEntry
from initdsl.text.failures import first_line

from .blame import StepFailed, blaming, rule_diagnostic
from .computed_weights import computed_weight, gives_back, write_computed
from .defaults import reset_computed
from .represented import unrepresented
from .run import Run, start_of, tell
from .seeded import resetting
from .unset import mark
from .write import Piece, write

__all__ = ["NOT_WRITTEN", "Reading", "fill_whole", "write_actions"]


# payloads that a module's own reset, or nothing, writes
NOT_WRITTEN = (Kept, Reset)


# returns the values of a tensor, all of them, by its number
Reading = Callable[[int], torch.Tensor]


def fill_whole(run: Run, entry: PlanEntry, read: Reading) -> None:
    """Fill an entry's tensor, and tell `on_init`. Raises StepFailed."""
    tensor = run.live.tensors[entry.tensor.index]
    if not entry.keeps:  # or it may have no memory yet
        if tensor is None:
            _fill_computed(run, entry, read)
        else:
            write_actions(run, entry, tensor.detach(), read)
    if run.on_init is not None and not entry.adjusts:  # that one is not done yet
        tell(run, entry)


def write_actions(run: Run, entry: PlanEntry, tensor: torch.Tensor, read: Reading) -> None:
    """Carry out the actions of an entry on a tensor of its shape, one after the other."""
    if run.is_new(entry.tensor) and not (entry.base is not None and isinstance(entry.base.payload, NOT_WRITTEN)):
        called = (initializer for action in entry.actions for initializer in action.initializers)
        if not all(initializer.builtin for initializer in called):
            mark(tensor)
    for action in entry.actions:
        if not isinstance(action.payload, NOT_WRITTEN):
            with blaming(run.plan, entry, action):
                _write_action(run, entry, action, tensor, read)


def _write_action(run: Run, entry: PlanEntry, action: Action, tensor: torch.Tensor, read: Reading) -> None:
    viewed = tensor
    if action.view is not None:
        viewed = tensor.contiguous().view(action.view)  # a copy, where no view can be had
    memory = viewed if action.index is None else viewed[action.index]
    if memory.numel() == 0:
        return
    write(run, Piece(entry, action, memory, tensor, read))
    if action.view is not None and not tensor.is_contiguous():
        tensor.copy_(viewed.view(tensor.shape))


def _fill_computed(run: Run, entry: PlanEntry, read: Reading) -> None:
    """Fill a weight that is computed from other parameters: those get what gives it these values."""
    owner, local = entry.tensor.owners[0]
    module = run.live.modules[owner]
    if run.fresh:  # what it is computed from has no values yet
        device = next(module.parameters()).device
        value = torch.empty(entry.shape, dtype=getattr(torch, entry.dtype), device=device)
    else:
        value = computed_weight(module, local).clone(memory_format=torch.contiguous_format)
    if entry.base is not None and isinstance(entry.base.payload, Reset):
        value = reset_computed(run, entry, value)
    write_actions(run, entry, value, read)
    try:
        with resetting(run.seed, f"{entry.name}.<inverse>"):  # `orthogonal` draws what completes its base
            write_computed(module, local, value, start_of(run))
    except Exception as error:
        message = f"`right_inverse` raised {type(error).__name__} for `{entry.label}`: {first_line(error)}"
        raise StepFailed(rule_diagnostic(run.plan, entry.actions[-1], "fill-failed", message), error) from error
    drawn = entry.draws or any(isinstance(action.payload, Reset) for action in entry.actions)
    if not gives_back(module, local, value, exactly=not drawn):
        problem = unrepresented(run.plan, entry.tensor, entry.actions[-1], "can't have these values")
        raise StepFailed(problem, ValueError(problem.message))
