"""All or nothing: backups, claims on memory, and signals held meanwhile."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from initdsl.text.diagnostic import Diagnostic, ResolveError

from .boxes import memory_of
from .random_state import RandomStates, put_back, random_states

if TYPE_CHECKING:
    from initdsl.network.description import Network

__all__ = ["Backup", "busy", "held_signals"]


class _Busy:
    """What is being filled, by all threads: two fills of the same memory at once would mix their values."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.claimed: set[int] = set()

    @contextmanager
    def held(self, claims: set[int], network: Network) -> Iterator[None]:
        """Claim memory for the block. Raises ResolveError where a part of it is claimed already."""
        with self.lock:
            if not self.claimed.isdisjoint(claims):
                raise ResolveError(
                    Diagnostic(
                        "busy-network", "this network, or one that shares parameters with it, is being filled",
                        hint="wait until the other fill is done; call `apply` neither from two threads at once, nor from "
                        "`on_init` or an initializer, on the network that it is filling",
                    )
                )  # fmt: skip
            self.claimed |= claims
        try:
            yield
        finally:
            with self.lock:
                self.claimed -= claims


busy = _Busy()


# ---- undoing


class Backup:
    """What is needed to put a network and the random states back."""

    def __init__(self) -> None:
        self.values: dict[int, tuple[torch.Tensor, torch.Tensor, torch.Tensor, bool]] = {}
        self.dicts: dict[int, tuple[nn.Module, dict[str, Any], dict[str, Any], dict[str, Any]]] = {}
        self.states: RandomStates = []

    def random_states(self) -> None:
        # a CUDA that nothing has used yet is not started for this
        self.states = random_states(cuda=torch.cuda.is_initialized())  # type: ignore[no-untyped-call]

    def save(self, tensors: list[torch.Tensor]) -> None:
        for tensor in tensors:
            if id(tensor) not in self.values:
                place = memory_of(tensor)
                self.values[id(tensor)] = (tensor, place, _distinct(place).clone(), tensor.requires_grad)

    def objects(self, root: nn.Module) -> None:
        """Remember which objects a module, and those below it, hold."""
        for module in root.modules():
            if id(module) not in self.dicts:
                # what else holds tensors: an RNN's list of its weights, the results of the old norms' hooks
                plain: dict[str, Any] = {k: v for k, v in module.__dict__.items() if isinstance(v, torch.Tensor)}
                plain["training"] = module.training
                if "_flat_weights" in module.__dict__:
                    plain["_flat_weights"] = list(module._flat_weights)  # type: ignore[arg-type]
                self.dicts[id(module)] = (module, dict(module._parameters), dict(module._buffers), plain)

    def restore(self) -> None:
        for module, parameters, buffers, plain in self.dicts.values():
            module._parameters.clear()
            module._parameters.update(parameters)
            module._buffers.clear()
            module._buffers.update(buffers)
            module.__dict__.update(plain)
        with torch.no_grad():
            for tensor, place, values, requires_grad in self.values.values():
                _distinct(place).copy_(values)
                if (now := memory_of(tensor)).shape != place.shape or now.data_ptr() != place.data_ptr():
                    tensor.set_(place)  # type: ignore[call-overload]
                if tensor.requires_grad != requires_grad:
                    tensor.requires_grad_(requires_grad)
        put_back(self.states)


def _distinct(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor without the repetitions of an expanded one: every element with memory of its own."""
    if tensor.layout != torch.strided or 0 not in tensor.stride():
        return tensor
    return tensor[tuple(slice(None) if stride else slice(0, 1) for stride in tensor.stride())]


class Signals:
    """Python's signal handlers, which may raise, held back while tensors are half written and nothing can put them back."""

    def __init__(self) -> None:
        self.came: list[tuple[int, Any]] = []
        self.handlers: dict[int, Any] = {}

    @property
    def interrupted(self) -> bool:
        """Whether a Ctrl-C is to become a KeyboardInterrupt."""
        return any(self.handlers[number] is signal.default_int_handler for number, _ in self.came)

    def hold(self, numbers: Iterable[int] | None = None) -> None:
        """Hold these signals, or all, from now on. Handlers run in the main thread alone."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in signal.valid_signals() if numbers is None else numbers:
            handler = signal.getsignal(number)
            if callable(handler) and number not in self.handlers:
                self.handlers[number] = handler
                signal.signal(number, lambda *what: self.came.append(what))

    def release(self) -> None:
        """Give the handlers back, and to them what came; KeyboardInterrupt is left to the caller."""
        for number, handler in self.handlers.items():
            signal.signal(number, handler)
        for number, frame in self.came:
            if self.handlers[number] is not signal.default_int_handler:
                self.handlers[number](number, frame)


@contextmanager
def held_signals() -> Iterator[Signals]:
    """Hold Ctrl-C from the start; other signals once `hold` is called, as a step with a backup may be interrupted."""
    signals = Signals()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signals.hold([signal.SIGINT])
    try:
        yield signals
    finally:
        signals.release()
