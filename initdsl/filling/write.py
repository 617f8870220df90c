"""One action written into one piece of memory: the only place where a rule's numbers get into a tensor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from initdsl import streams
from initdsl.initializers import Arguments, Constant, Distribution, Initializer, fill
from initdsl.language.expressions.functions import torch_tensor
from initdsl.language.expressions.operators import combine
from initdsl.language.syntax.nodes import Expr
from initdsl.planning.actions import Action, CopyFrom, Draw, Expression, Load, Value
from initdsl.planning.plan import PlanEntry
from initdsl.planning.program import Drawn

from .blame import StepFailed, rule_diagnostic
from .boxes import Window
from .evaluate import initializer_arguments, steps_before_last, value_of
from .run import Run
from .seeded import call_seeded, fill_seeded
from .unset import has_nan, mark

__all__ = ["Piece", "call_initializer", "draw_distribution", "edited", "evaluate_into", "work_dtype", "write"]


class Piece(NamedTuple):
    """What an action writes to, and what it may look at meanwhile: `Piece(entry, action, weight[0], weight, read)`.

    `memory` is a view of the tensor's values, `target` the whole of what is there of the tensor. `window` says where
    `memory` lies in all that the action writes, None where it is all of that. `read` returns the values of another
    tensor, by its number: where the memory lies, if there is a window.
    """

    entry: PlanEntry
    action: Action
    memory: torch.Tensor
    target: torch.Tensor
    read: Callable[[int], torch.Tensor]
    window: Window | None = None


def write(run: Run, piece: Piece) -> None:
    """Carry an action out on a piece. Raises StepFailed, EvalError, and what an initializer's function raises."""
    payload, memory = piece.action.payload, piece.memory
    if isinstance(payload, Value):
        _write_number(run, piece, payload.value)
    elif isinstance(payload, Distribution):
        draw_distribution(run, piece, memory, payload)
    elif isinstance(payload, Draw):
        _call_new(run, piece, memory, payload.initializer, payload.arguments)
    elif isinstance(payload, Expression):
        evaluate_into(run, piece, payload)
    elif isinstance(payload, CopyFrom):
        memory.copy_(piece.read(payload.tensor))
    elif isinstance(payload, Load):
        memory.copy_(run.files.tensor(payload, () if piece.window is None else piece.window.index))


# ---- numbers


# dtypes in which a number is added and multiplied in place
IN_PLACE = (torch.float32, torch.float64, torch.complex64, torch.complex128)


def is_integral(tensor: torch.Tensor) -> bool:
    """Return whether a tensor holds integers or truth values."""
    return not tensor.is_floating_point() and not tensor.is_complex()


def _write_number(run: Run, piece: Piece, number: float | int | bool) -> None:
    """Set a piece to one number, or edit it by one."""
    operator, memory = piece.action.operator, piece.memory
    if operator in ("=", "~"):
        memory.fill_(number)
        return
    if is_integral(memory):
        value = edited(run, piece, number, finite=False)  # refuses what the dtype can't hold
        if memory.dtype == torch.bool:
            memory.copy_(value)
            return
    if memory.dtype in IN_PLACE or is_integral(memory):
        {"+=": memory.add_, "-=": memory.sub_, "*=": memory.mul_, "/=": memory.div_}[operator](number)  # type: ignore[operator]
    else:
        memory.copy_(combine(None, operator[0], memory.to(work_dtype(memory)), number))
    if not is_integral(memory):
        _refuse_infinite(run, piece, memory)


def _refuse_infinite(run: Run, piece: Piece, values: torch.Tensor) -> None:
    values = values.float() if values.dtype.itemsize == 1 else values
    if not bool(torch.isfinite(values).all()):
        message = f"the result for `{piece.entry.label}` is not finite"
        hint = "where that is meant, write `inf` or `nan`"
        raise StepFailed(rule_diagnostic(run.plan, piece.action, "not-finite", message, hint), ValueError(message))


def edited(run: Run, piece: Piece, value: torch.Tensor | float, *, finite: bool) -> torch.Tensor:
    """Return the piece's values, edited by `value` where the action edits; with `finite`, refuse a result that is not."""
    action, memory = piece.action, piece.memory
    work = work_dtype(memory)
    if action.operator not in ("=", "~"):
        value = combine(action.clause.rule, action.operator[0], memory.to(work), value)
    if not isinstance(value, torch.Tensor):
        value = torch.tensor(value, dtype=work, device=memory.device)
    if is_integral(memory):
        _refuse_unheld(run, piece, value)
    elif finite and not is_integral(value):
        _refuse_infinite(run, piece, value.to(memory.dtype))
    return value


def _refuse_unheld(run: Run, piece: Piece, values: torch.Tensor) -> None:
    """Raise StepFailed where an integer or boolean tensor can't hold one of the values."""
    dtype = piece.memory.dtype
    low, high = (0, 1) if dtype == torch.bool else (torch.iinfo(dtype).min, torch.iinfo(dtype).max)
    if not values.is_floating_point():
        held = (
            (values >= low) & (values <= high) if values.dtype != dtype else torch.ones_like(values, dtype=torch.bool)
        )
    else:
        held = (values == values.floor()) & (values >= float(low)) & (values < float(high) + 1)
    if not bool(held.all()):
        wrong = float(values[~held].flatten()[0])
        message = f"`{piece.entry.label}` is {str(dtype).removeprefix('torch.')} and can't hold {wrong:g}"
        raise StepFailed(rule_diagnostic(run.plan, piece.action, "bad-dtype", message, None), ValueError(message))


# ---- draws


def draw_distribution(
    run: Run, piece: Piece, memory: torch.Tensor, distribution: Distribution, stream: int = 0
) -> None:
    """Fill memory in the piece's place from a distribution: by torch's generator, or from each element's own stream."""
    if run.seed is not None and not isinstance(distribution, Constant):
        fill_seeded(run.seed, piece.entry, piece.action, memory, distribution, stream, piece.window)
    elif not streams.draw_as_torch([memory], distribution):
        fill(memory, distribution)


def _call_new(
    run: Run, piece: Piece, memory: torch.Tensor, initializer: Initializer, arguments: Arguments, stream: int = 0
) -> None:
    """Let an initializer's function fill memory; of memory that has no values yet, refuse what it leaves or builds on."""
    call_initializer(run, piece, memory, initializer, arguments, stream)
    new = run.is_new(piece.entry.tensor) or memory is not piece.memory
    if new and not initializer.builtin and has_nan(memory) and bool(memory.isnan().any()):
        message = f"`{initializer.name}` leaves or takes values of `{piece.entry.label}`, which has none yet"
        hint = "set the parameter as a whole first, or let the function set all of it"
        raise StepFailed(rule_diagnostic(run.plan, piece.action, "fill-failed", message, hint), ValueError(message))


def call_initializer(
    run: Run, piece: Piece, memory: torch.Tensor, initializer: Initializer, arguments: Arguments, stream: int = 0
) -> None:
    """Let an initializer's function fill memory of the piece's shape; one that returns a tensor has it copied in."""
    shape = memory.shape
    if run.seed is not None:
        work = memory
        half = memory.dtype in (torch.float16, torch.bfloat16)
        if half or not memory.is_contiguous():  # neither the dtype nor the layout may show in what is drawn
            dtype = torch.float32 if half else memory.dtype
            work = torch.empty(memory.shape, dtype=dtype, device=memory.device).copy_(memory)
        returned = call_seeded(run.seed, piece.entry, piece.action, work, initializer, arguments, stream)
        if work is not memory and returned is None:
            returned = work
    else:
        extra = {"generator": None} if initializer.takes_generator else {}
        returned = initializer.function(memory, **arguments, **extra)
    if memory.shape != shape:
        raise ValueError(f"it changed the tensor's shape from {list(shape)} to {list(memory.shape)}")
    if returned is None or returned is memory:
        return
    if not isinstance(returned, torch.Tensor):
        raise TypeError(f"it must fill the tensor in place or return a tensor, not {type(returned).__name__}")
    if returned.shape != memory.shape:
        raise ValueError(f"it returned shape {list(returned.shape)} for a tensor of shape {list(memory.shape)}")
    if returned.data_ptr() != memory.data_ptr() or returned.stride() != memory.stride():
        memory.copy_(returned)


# ---- expressions


def work_dtype(tensor: torch.Tensor) -> torch.dtype:
    """Return the dtype in which a tensor takes part in an expression: integers to 53 bits are kept for integers."""
    if tensor.is_complex():
        return torch.complex128 if tensor.dtype == torch.complex128 else torch.complex64
    return torch.float64 if tensor.dtype == torch.float64 or is_integral(tensor) else torch.float32


def real_dtype(tensor: torch.Tensor) -> torch.dtype:
    """Return the dtype in which the real parts of an expression for a tensor are computed."""
    work = work_dtype(tensor)
    return work.to_real() if work.is_complex else work


def evaluate_into(run: Run, piece: Piece, expression: Expression) -> None:
    """Compute an expression and write its value to a piece, or edit the piece by it."""
    memory, values = piece.memory, Values(run, piece, real_dtype(piece.memory))
    if expression.program.direct and piece.action.operator in ("~", "="):  # one initializer fills the piece itself
        last = expression.program.steps[-1]
        assert isinstance(last, Drawn)
        arguments = initializer_arguments(last, steps_before_last(expression.program, values))
        values.draw(last, arguments, memory)
        return
    value = value_of(expression.program, values)
    if isinstance(value, tuple):
        exact = piece.action.operator == "=" and is_integral(memory)
        value = torch_tensor(value, memory.dtype if exact else values.work, memory.device)
    value = edited(run, piece, value, finite=expression.finite)
    if value.untyped_storage().data_ptr() == memory.untyped_storage().data_ptr():
        value = value.clone()  # a part of the target itself: `it[0]`
    memory.copy_(value)


# below this floats of 64 bits have every integer
EXACT = 2**53


@dataclass(frozen=True, eq=False, slots=True)
class Values:
    """The tensors that an expression for a piece meets, in the real dtype `work` in which it is computed, or its complex one."""

    run: Run
    piece: Piece
    work: torch.dtype

    @property
    def steady(self) -> bool:
        """Whether the bits may depend on the values alone."""
        return self.run.seed is not None

    # ---- steps of a program

    def read(self, tensor: int) -> torch.Tensor:
        """Return the values of another tensor of the model."""
        return self._ready(self.piece.read(tensor))

    def target(self, whole: bool) -> torch.Tensor:
        """Return the tensor that is written to, or the piece of it, as it is now."""
        return self._ready(self.piece.target if whole else self.piece.memory)

    def stored(self, load: Load) -> torch.Tensor:
        """Return a tensor of a file."""
        return self._ready(self.run.files.tensor(load))

    def drawn(self, step: Drawn, arguments: Arguments) -> torch.Tensor:
        """Return what an initializer gives for a tensor of the piece's shape."""
        memory = self.piece.memory
        parts = memory.is_complex() and step.initializer.draws
        fresh = torch.empty(memory.shape, dtype=self.work.to_complex() if parts else self.work, device=memory.device)
        self.draw(step, arguments, fresh)
        return fresh

    def draw(self, step: Drawn, arguments: Arguments, memory: torch.Tensor) -> None:
        """Let an initializer fill memory of the piece's shape."""
        if step.initializer.elementwise:
            distribution = step.initializer.distribution(self.piece.action.shape, arguments)
            draw_distribution(self.run, self.piece, memory, distribution, step.stream)
        else:
            if memory is not self.piece.memory:
                mark(memory)
            _call_new(self.run, self.piece, memory, step.initializer, arguments, step.stream)

    # ---- what the functions of the language ask

    def tensor(self, values: Any) -> torch.Tensor:
        """Return nested lists of numbers, or a range, as a tensor."""
        return torch_tensor(values, self.work, self.piece.memory.device)

    def target_shape(self, node: Expr) -> tuple[int, ...]:
        """Return the shape of all that the action writes."""
        return self.piece.action.shape

    def extent(self, d: int, size: int) -> range:
        """Return the coordinates along dimension `d` that are computed."""
        return range(size) if self.piece.window is None else self.piece.window.extents[d]

    def _ready(self, value: torch.Tensor) -> torch.Tensor:
        wide = value.dtype in (torch.int64, torch.uint64) and is_integral(self.piece.memory)
        if wide and bool((value.to(self.work).abs() >= EXACT).any()):
            message = (
                f"the rule for `{self.piece.entry.label}` reads integers of more than 53 bits, which only `copy` keeps"
            )
            diagnostic = rule_diagnostic(self.run.plan, self.piece.action, "bad-dtype", message, None)
            raise StepFailed(diagnostic, ValueError(message))
        work = self.work.to_complex() if value.is_complex() else self.work
        value = value.to(device=self.piece.memory.device, dtype=work)
        # torch takes other code, with other last bits, for other layouts
        return value.contiguous() if self.steady else value
