"""What a module's own reset leaves as it was, though it is to be the module's default."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from initdsl.network.description import Live, Network
from initdsl.network.parts import TensorInfo
from initdsl.planning.plan import PlanEntry

from .boxes import memory_of
from .random_state import RandomStates, put_back, random_states

__all__ = [
    "Writes",
    "has_nan",
    "is_torchs_reset",
    "left_by",
    "mark",
    "sets_itself",
    "still_left",
    "tensors_kept",
    "written_by",
]


# the parameters that torch's own modules have, all of which their resets set
TORCH_NAMES = re.compile(
    r"weight|bias|(weight|bias)_(ih|hh|hr)(_l[0-9]+(_reverse)?)?|(in|[qkv])_proj_(weight|bias)|bias_[kv]"
)


def written_by(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Iterator[torch.Tensor]:
    """Yield the tensors that a call of an operation writes to."""
    for position, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            value = args[position] if position < len(args) else kwargs.get(argument.name)
            yield from (
                t for t in (value if isinstance(value, list | tuple) else (value,)) if isinstance(t, torch.Tensor)
            )


class Writes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the storages that operations write to."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.storages: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        self.storages.update(each.untyped_storage()._cdata for each in written_by(func, args, kwargs))
        return func(*args, **kwargs)


def sets_itself(network: Network, live: Live, info: TensorInfo) -> bool:
    """Return whether a parameter is one of torch's own modules', whose resets set all that those modules come with.

    Where something else stands in place of a reset or of a function of `torch.nn.init`, as by tools that build models
    without drawing, that is not known.
    """
    return any(
        network.modules[owner].cls.qualname.startswith("torch.nn.")
        and TORCH_NAMES.fullmatch(local)
        and is_torchs_reset(live.modules[owner], network.modules[owner].reset)
        for owner, local in info.owners
    )


def is_torchs_reset(module: nn.Module, name: str | None) -> bool:
    """Return whether a module's reset is torch's, and so are the functions of `torch.nn.init` that it calls."""
    return _draws() and _of_torch(getattr(module, name or "", None))


def _of_torch(function: object) -> bool:
    return str(getattr(function, "__module__", "")).startswith("torch.nn.")


# the functions of `torch.nn.init`; None for one that something else stood in place of when this was imported
FUNCTIONS = {
    name: function if _of_torch(function) else None
    for name, function in vars(nn.init).items()
    if name.endswith("_") and name[0] != "_"
}


def _draws() -> bool:
    """Return whether the functions of `torch.nn.init` are torch's."""
    return FUNCTIONS.items() <= vars(nn.init).items()


def has_nan(tensor: torch.Tensor) -> bool:
    """Return whether a tensor can hold nan."""
    return tensor.is_floating_point() or tensor.is_complex()


def mark(tensor: torch.Tensor) -> None:
    """Let a tensor that has no values hold nan, so that what builds on them shows."""
    if has_nan(tensor):
        tensor.fill_(float("nan"))


@contextmanager
def tensors_kept(root: nn.Module) -> Iterator[None]:
    """Give a module, and those below it, the objects back that the block puts others in place of, with the others' values.

    Raises ValueError for a parameter of another shape; such buffers stay.
    """
    held: list[tuple[bool, dict[str, Any], str, torch.Tensor]] = []
    for module in root.modules():
        kinds: list[tuple[bool, Any]] = [(True, module._parameters), (False, module._buffers)]
        for is_parameter, holder in kinds:
            held += [
                (is_parameter, holder, local, tensor)
                for local, tensor in holder.items()
                if tensor is not None and not nn.parameter.is_lazy(tensor)
            ]
    try:
        yield
    except Exception:
        for _, tensors, local, tensor in held:
            tensors[local] = tensor
        raise
    for is_parameter, tensors, local, tensor in held:
        now = tensors.get(local)
        if now is None or now is tensor or (now.is_meta and not tensor.is_meta):
            continue
        if now.shape == tensor.shape:
            memory_of(tensor).copy_(memory_of(now))
            tensors[local] = tensor
        elif is_parameter:
            tensors[local] = tensor
            raise ValueError(f"it gives `{local}` another shape: {list(now.shape)}, not {list(tensor.shape)}")


# masks, or values, of tensors by their numbers
Tensors = Mapping[int, torch.Tensor]


def left_by(reset: Callable[[], Tensors], before: Callable[[], Tensors], valueless: Tensors) -> dict[int, torch.Tensor]:
    """Reset tensors, and return which elements of each, by its number, get no value: True where one doesn't.

    `before` puts back, and returns, the memory of the tensors that are looked at; `reset` sets what it sets, and returns
    where their values are then. Elements that are as they were get none; those that are `valueless` get none from what
    builds on them either. The tensors hold marks first; where some show afterwards, all is done anew on what was there,
    as a reset may build on that.
    """
    states = random_states(cuda=torch.cuda.is_initialized())  # type: ignore[no-untyped-call]
    try:
        shown, untouched = _on_marks(reset, before, states)
    except Exception:  # it looks at what is there
        shown = untouched = {}
    else:
        if not any(bool(mask.any()) for mask in shown.values()):
            return {}
    put_back(states)
    memories = before()
    storages = {number: memory.untyped_storage()._cdata for number, memory in memories.items()}
    values = {number: memory.clone() for number, memory in memories.items() if has_nan(memory)}
    with Writes() as writes:
        after = reset()
    left = {}
    for number, memory in after.items():
        written = storages[number] in writes.storages or memory.untyped_storage()._cdata != storages[number]
        if number not in shown:
            mask = torch.full_like(memory, not written, dtype=torch.bool)
        else:
            mask = untouched[number]
            if number in values:  # what builds on nan is nan
                was = values[number]
                mask = mask & ((memory == was) | (was.isnan() & memory.isnan() & (not written)))
            if number in valueless:
                mask = torch.where(valueless[number], shown[number], mask)
        if bool(mask.any()):
            left[number] = mask
    return left


def _on_marks(
    reset: Callable[[], Tensors], before: Callable[[], Tensors], states: RandomStates
) -> tuple[Tensors, Tensors]:
    """Reset tensors that hold marks, and return where those show in their values, and where they are untouched.

    The mark of a number is nan. Integers and truth values have none that they could not be set to: they are reset twice,
    once on zeros and once on ones, and show where that makes a difference.
    """

    integral: set[int] = set()

    def on(mark: int) -> Tensors:
        for number, memory in before().items():
            if not has_nan(memory):
                integral.add(number)
            memory.fill_(mark if number in integral else float("nan"))
        return {number: memory.clone() if number in integral else memory.isnan() for number, memory in reset().items()}

    zeros = on(0)
    if not integral:
        return zeros, zeros
    put_back(states)
    ones = on(1)
    pairs = {number: (mask, ones[number]) for number, mask in zeros.items()}
    shown = {n: zero != one if n in integral else zero for n, (zero, one) in pairs.items()}
    untouched = {n: (zero == 0) & (one == 1) if n in integral else zero for n, (zero, one) in pairs.items()}
    return shown, untouched


def still_left(left: Mapping[int, torch.Tensor], entries: Iterable[PlanEntry]) -> Iterator[PlanEntry]:
    """Yield the entries of which elements are `left` unset that no rule sets afterwards."""
    for entry in entries:
        mask = left.get(entry.tensor.index)
        if mask is None:
            continue
        if mask.shape == entry.shape:
            mask = mask.contiguous().clone()
            for action in entry.edits:
                if not action.builds_on_values:
                    viewed = mask if action.view is None else mask.view(action.view)
                    viewed[() if action.index is None else action.index] = False
        if bool(mask.any()):
            yield entry
