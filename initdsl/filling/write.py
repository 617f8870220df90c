"""One action written into one tensor."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from initdsl.initializers import ArgumentError, Arguments, bind
from initdsl.language.expressions.evaluate import apply
from initdsl.language.expressions.functions import torch_tensor
from initdsl.language.expressions.shapes import EvalError
from initdsl.language.syntax.nodes import Expr
from initdsl.planning.actions import Action
from initdsl.planning.plan import PlanEntry
from initdsl.planning.program import Apply, Drawn, Element, Load, Operand, Program, Read, Ref, Step, Stored, Target

if TYPE_CHECKING:
    from .boxes import Place
    from .execute import Execution

__all__ = ["Values", "draw_into", "piece_of", "value_of"]


class Values:
    """The values of tensors for one action, in the dtype its expression is computed in."""

    def __init__(
        self,
        run: Execution,
        entry: PlanEntry,
        action: Action,
        tensor: torch.Tensor,
        piece: torch.Tensor,
        work: torch.dtype,
        place: Place | None = None,
    ):
        self.run, self.entry, self.action = run, entry, action
        self.tensor_now, self.piece_now, self.work = tensor, piece, work
        self.place = place  # where the piece lies, if it is not all that the action writes
        self.steady = run.seeded is not None

    # ---- steps of a program

    def read(self, tensor: int) -> torch.Tensor:
        """Another tensor of the network."""
        return self._ready(self.run.read(tensor))

    def target(self, whole: bool) -> torch.Tensor:
        """The tensor that is written to, or the piece of it, as it is now."""
        return self._ready(self.tensor_now if whole else self.piece_now)

    def stored(self, load: Load) -> torch.Tensor:
        """A tensor of a file."""
        return self._ready(self.run.reader.tensor(load))

    def drawn(self, step: Drawn, arguments: Arguments) -> torch.Tensor:
        """What an initializer gives for a tensor of the piece's shape."""
        fresh = torch.empty(self.piece_now.shape, dtype=self.work, device=self.piece_now.device)
        self.draw(step, arguments, fresh)
        return fresh

    def draw(self, step: Drawn, arguments: Arguments, piece: torch.Tensor) -> None:
        """Let an initializer fill a tensor of the piece's shape."""
        if step.initializer.elementwise:
            distribution = step.initializer.distribution(self.action.shape, arguments)
            self.run.distribute(self.entry, piece, distribution, self.action, step.nth, self.place)
        else:
            self.run.draw(self.entry, piece, step.initializer, arguments, self.action, step.nth)

    # ---- what functions ask

    def tensor(self, values: Any) -> torch.Tensor:
        """Nested lists of numbers, or a range, as a tensor."""
        return torch_tensor(values, self.work, self.piece_now.device)

    def target_shape(self, node: Expr) -> tuple[int, ...]:
        """The shape of the piece."""
        return self.action.shape

    def extent(self, d: int, size: int) -> range:
        """The coordinates along dimension `d` that are computed."""
        return range(size) if self.place is None else self.place.spans[d]

    def _ready(self, value: torch.Tensor) -> torch.Tensor:
        value = value.to(device=self.piece_now.device, dtype=self.work)
        # torch takes other code, with other last bits, for other layouts
        return value.contiguous() if self.steady else value


def value_of(program: Program, env: Values) -> Any:
    """What a program comes to: a tensor, a number or nested tuples of numbers.

    The value of a step is let go after its last use. Raises EvalError.
    """
    values: list[Any] = []
    last = program.last_uses()
    ends: dict[int, list[int]] = {}
    for number, use in enumerate(last):
        ends.setdefault(use, []).append(number)
    for number in range(len(program.steps)):
        values.append(_step(program, number, values, env))
        for done in ends.get(number, ()):
            values[done] = None
    return _operand(program.result, values)


def draw_into(program: Program, env: Values, piece: torch.Tensor) -> None:
    """Let a program that is one initializer fill a tensor itself. Raises EvalError."""
    values: list[Any] = []
    for number in range(len(program.steps) - 1):
        values.append(_step(program, number, values, env))
    last = program.steps[-1]
    assert isinstance(last, Drawn)
    env.draw(last, _arguments(last, values), piece)


def _step(program: Program, number: int, values: list[Any], env: Values) -> Any:
    try:
        return _value(program.steps[number], values, env)
    except EvalError as error:
        message, span = error.message, error.span
        for use in reversed(program.uses[number]):
            message, span = f"in `{use.name}`: {message}", use.span
        raise EvalError(message, span, error.hint, error.name) from None


def _value(step: Step, values: list[Any], env: Values) -> Any:
    match step:
        case Read(tensor):
            return env.read(tensor)
        case Target(whole):
            return env.target(whole)
        case Stored(load):
            return env.stored(load)
        case Drawn():
            return env.drawn(step, _arguments(step, values))
        case Element(base, items):
            return values[base.step][items]
        case Apply(function, operands, keywords, node):
            named = {name: _operand(value, values) for name, value in keywords}
            return apply(node, env, function, tuple(_operand(value, values) for value in operands), named)


def _operand(operand: Operand, values: list[Any]) -> Any:
    if isinstance(operand, Ref):
        return values[operand.step]
    if isinstance(operand, tuple):
        return tuple(_operand(item, values) for item in operand)
    return operand


def _arguments(step: Drawn, values: list[Any]) -> Arguments:
    """The arguments of an initializer as it takes them. Raises EvalError where one that was read off a tensor can't be right."""
    if step.is_bound:
        return Arguments(step.arguments)
    given = {name: _operand(value, values) for name, value in step.arguments}
    given = {name: float(value) if isinstance(value, torch.Tensor) else value for name, value in given.items()}
    try:
        return bind(step.initializer, given)
    except ArgumentError as error:
        span = dict(step.spans).get(error.argument or "", step.span)
        raise EvalError(str(error), span, error.hint, error.name) from None


def piece_of(tensor: torch.Tensor, action: Action) -> tuple[torch.Tensor, Callable[[], Any] | None]:
    """The view an action writes to; and, where no view can be had, how to write its copy back."""
    if action.view is None:
        return (tensor if action.index is None else tensor[action.index]), None
    write_back = None
    if tensor.is_contiguous():
        seen = tensor.view(action.view)
    else:
        copy = tensor.contiguous()
        seen = copy.view(action.view)

        def write_back() -> Any:
            return tensor.copy_(copy)

    return (seen if action.index is None else seen[action.index]), write_back
