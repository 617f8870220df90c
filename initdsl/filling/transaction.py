"""All or nothing: steps that change a model are carried out together, or everything is as it was.

What the steps change up to the last one that can fail is backed up first, and put back if one fails. An interrupt
(Ctrl-C) is held until the state is whole again: put back where there is a backup, else complete. So is every other
handler of a signal where there is no backup. Memory that is being filled is claimed: a second fill of it meanwhile is
refused.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import nn

from initdsl.text.diagnostic import ApplyError, Diagnostic, ResolveError
from initdsl.text.failures import out_of_memory

from .blame import StepFailed
from .boxes import memory_of
from .random_state import RandomStates, put_back, random_states

__all__ = ["Backup", "Hooks", "Step", "carry_out", "memory_key"]


# ---- undoing


class Backup:
    """What is needed to put a model and the random states back."""

    def __init__(self) -> None:
        # by the identity of a tensor: itself, its memory, the values that were there, whether it requires a gradient
        self.values: dict[int, tuple[torch.Tensor, torch.Tensor, torch.Tensor, bool]] = {}
        # by the identity of a module: itself, its parameters, buffers and further attributes
        self.modules: dict[int, tuple[nn.Module, dict[str, Any], dict[str, Any], dict[str, Any]]] = {}
        self.states: RandomStates = []

    def save_random_states(self) -> None:
        """Remember the states of the global generators."""
        # a CUDA that nothing has used yet is not started for this
        self.states = random_states(cuda=torch.cuda.is_initialized())  # type: ignore[no-untyped-call]

    def save_values(self, tensors: Iterable[torch.Tensor]) -> None:
        """Remember the values of tensors."""
        for tensor in tensors:
            if id(tensor) not in self.values:
                memory = memory_of(tensor)
                self.values[id(tensor)] = (tensor, memory, _distinct(memory).clone(), tensor.requires_grad)

    def save_objects(self, root: nn.Module) -> None:
        """Remember which objects a module, and those below it, hold."""
        for module in root.modules():
            if id(module) not in self.modules:
                # what else holds tensors: an RNN's list of its weights, the results of the old norms' hooks
                plain: dict[str, Any] = {k: v for k, v in module.__dict__.items() if isinstance(v, torch.Tensor)}
                plain["training"] = module.training
                if "_flat_weights" in module.__dict__:
                    plain["_flat_weights"] = list(module._flat_weights)  # type: ignore[arg-type]
                self.modules[id(module)] = (module, dict(module._parameters), dict(module._buffers), plain)

    def restore(self) -> None:
        """Put everything back."""
        for module, parameters, buffers, plain in self.modules.values():
            module._parameters.clear()
            module._parameters.update(parameters)
            module._buffers.clear()
            module._buffers.update(buffers)
            module.__dict__.update(plain)
        with torch.no_grad():
            for tensor, memory, values, requires_grad in self.values.values():
                _distinct(memory).copy_(values)
                if (now := memory_of(tensor)).shape != memory.shape or now.data_ptr() != memory.data_ptr():
                    tensor.set_(memory)  # type: ignore[call-overload]
                if tensor.requires_grad != requires_grad:
                    tensor.requires_grad_(requires_grad)
        put_back(self.states)


def _distinct(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor without the repetitions of an expanded one: every element with memory of its own."""
    if tensor.layout != torch.strided or 0 not in tensor.stride():
        return tensor
    return tensor[tuple(slice(None) if stride else slice(0, 1) for stride in tensor.stride())]


# ---- steps


class Step(NamedTuple):
    """One change of a model: `Step(lambda: fill(entry), False, lambda backup: backup.save_values([tensor]))`.

    `do` makes it, and `can_fail` says whether that can go wrong. `back_up` remembers what it will change.
    """

    do: Callable[[], None]
    can_fail: bool
    back_up: Callable[[Backup], None]


class Hooks(NamedTuple):
    """What a fill that others take part in agrees with them: when it begins, and when all that can fail is done.

    `begin` is called before anything changes, with the number of the last step that can fail (-1: none), and returns
    that of all who take part. `settle` is called once, when that step is done or one of them failed; it raises where
    another one's failed.
    """

    begin: Callable[[int], int]
    settle: Callable[[BaseException | None], None]


def begin_alone(last: int) -> int:
    """Return the last step that can fail: there is nobody to ask."""
    return last


def settle_alone(failure: BaseException | None) -> None:
    """Do nothing: there is nobody to tell."""


ALONE = Hooks(begin_alone, settle_alone)


# returns keys of the memory, and of the modules, that a fill writes to
Claims = Callable[[], set[int]]


def carry_out(steps: Sequence[Step], claims: Claims, hooks: Hooks = ALONE) -> None:
    """Make all changes or none; `claims` is asked for what they write to where another fill goes on.

    Raises ResolveError where another fill has claimed a part of that, ApplyError or KeyboardInterrupt where a step
    failed or was interrupted: then everything is as it was.
    """
    with _BUSY.held(claims):
        last = hooks.begin(max((number for number, step in enumerate(steps) if step.can_fail), default=-1))
        with torch.no_grad(), _held_signals() as signals:
            _all_or_nothing(steps, last, hooks, signals)


def _all_or_nothing(steps: Sequence[Step], last: int, hooks: Hooks, signals: Signals) -> None:
    backup = Backup()
    settled = last < 0
    if settled:
        signals.hold()
    try:
        if last >= 0:
            backup.save_random_states()
        for step in steps[: last + 1]:
            step.back_up(backup)
        for number, step in enumerate(steps):
            step.do()
            if signals.interrupted and number <= last:
                raise KeyboardInterrupt
            if number == last:
                signals.hold()
                settled = True
                hooks.settle(None)
    except BaseException as error:
        signals.hold()
        backup.restore()
        if not settled:
            hooks.settle(error)
        _raise_as_applied(error, settled)
    if signals.interrupted:
        raise KeyboardInterrupt


def _raise_as_applied(error: BaseException, settled: bool) -> None:
    """Raise a step's error as ApplyError if it is known what to say of it, else as it is."""
    cause = error.cause if isinstance(error, StepFailed) else error
    if out_of_memory(cause) and (settled or cause is error):  # else it is known which rule it was
        raise ApplyError(_no_memory(whole=not settled)) from cause
    if isinstance(error, StepFailed):
        raise ApplyError(error.diagnostics) from cause
    raise error


def _no_memory(whole: bool) -> Diagnostic:
    """Return what is said where memory ran out; `whole` if all is as it was."""
    if whole:
        message = "there is not enough memory to fill this model, which is as it was"
        hint = "rules with functions, expressions or files are backed up first; what only draws or sets numbers is not"
    else:
        message = "there is no memory left, and the model is partly filled"
        hint = "apply the rules again once there is memory"
    return Diagnostic("out-of-memory", message, hint=hint)


# ---- one fill at a time


class _Busy:
    """What is being filled, by all threads: two fills of the same memory at once would mix their values."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.claimed: list[Claims] = []

    @contextmanager
    def held(self, claims: Claims) -> Iterator[None]:
        """Claim memory for the block. Raises ResolveError where a part of it is claimed already."""
        with self.lock:
            own = claims() if self.claimed else set()  # most fills are alone, and large models have many tensors
            if not all(own.isdisjoint(others()) for others in self.claimed):
                message = "this model, or one that shares parameters with it, is being filled"
                hint = (
                    "wait until the other fill is done; call `apply` neither from two threads at once, nor from "
                    "`on_init` or an initializer, on the model that it is filling"
                )
                raise ResolveError(Diagnostic("busy-network", message, hint=hint))
            self.claimed.append(claims)
        try:
            yield
        finally:
            with self.lock:
                self.claimed.remove(claims)


_BUSY = _Busy()


def memory_key(tensor: torch.Tensor) -> int:
    """Return a key that is equal for two tensors exactly if they share storage."""
    if type(tensor) in (torch.Tensor, nn.Parameter) and tensor.layout == torch.strided:
        return tensor.untyped_storage().data_ptr() or id(tensor)
    return id(tensor)


# ---- signals


class Signals:
    """Python's signal handlers, which may raise, held back while tensors are half written and nothing can put them back."""

    def __init__(self) -> None:
        self.arrived: list[tuple[int, Any]] = []
        self.handlers: dict[int, Any] = {}

    @property
    def interrupted(self) -> bool:
        """Whether a Ctrl-C is to become a KeyboardInterrupt."""
        return any(self.handlers[number] is signal.default_int_handler for number, _ in self.arrived)

    def hold(self, numbers: Iterable[int] | None = None) -> None:
        """Hold these signals, or all, from now on. Handlers run in the main thread alone."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in signal.valid_signals() if numbers is None else numbers:
            handler = signal.getsignal(number)
            if callable(handler) and number not in self.handlers:
                self.handlers[number] = handler
                signal.signal(number, lambda *arguments: self.arrived.append(arguments))

    def release(self) -> None:
        """Give the handlers back, and to them what arrived; KeyboardInterrupt is left to the caller."""
        for number, handler in self.handlers.items():
            signal.signal(number, handler)
        for number, frame in self.arrived:
            if self.handlers[number] is not signal.default_int_handler:
                self.handlers[number](number, frame)


@contextmanager
def _held_signals() -> Iterator[Signals]:
    """Hold Ctrl-C from the start; other signals once `hold` is called, as a step with a backup may be interrupted."""
    signals = Signals()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signals.hold([signal.SIGINT])
    try:
        yield signals
    finally:
        signals.release()
