"""Programs carried out: the value of an expression from the values of the tensors it names."""

from __future__ import annotations

from typing import Any, Protocol

import torch

from initdsl.initializers import ArgumentError, Arguments, Initializer, bind
from initdsl.language.expressions import operators
from initdsl.language.expressions.evaluate import apply
from initdsl.language.expressions.shapes import EvalError
from initdsl.planning.program import Apply, Drawn, Element, Load, Operand, Program, Read, Ref, Step, Stored, Target

__all__ = ["Surroundings", "initializer_arguments", "steps_before_last", "value_of"]


class Surroundings(operators.Surroundings, Protocol):
    """What the steps of a program take their tensors from."""

    def read(self, tensor: int) -> torch.Tensor:
        """Return the values of another tensor of the model, by its number."""

    def target(self, whole: bool) -> torch.Tensor:
        """Return the tensor that is written to, or the piece of it, as it is now."""

    def stored(self, load: Load) -> torch.Tensor:
        """Return a tensor of a file."""

    def drawn(self, step: Drawn, arguments: Arguments) -> torch.Tensor:
        """Return what an initializer gives for a tensor of the piece's shape."""


def value_of(program: Program, surroundings: Surroundings) -> Any:
    """Return what a program comes to: a tensor, a number or nested tuples of numbers.

    The value of a step is let go after its last use. Raises EvalError.
    """
    values: list[Any] = []
    ends: dict[int, list[int]] = {}
    for number, last_use in enumerate(program.last_uses()):
        ends.setdefault(last_use, []).append(number)
    for number in range(len(program.steps)):
        values.append(_step(program, number, values, surroundings))
        for done in ends.get(number, ()):
            values[done] = None
    return _operand(program.result, values)


def steps_before_last(program: Program, surroundings: Surroundings) -> list[Any]:
    """Return the values of all steps of a program but its last. Raises EvalError."""
    values: list[Any] = []
    for number in range(len(program.steps) - 1):
        values.append(_step(program, number, values, surroundings))
    return values


def _step(program: Program, number: int, values: list[Any], surroundings: Surroundings) -> Any:
    try:
        return _value(program.steps[number], values, surroundings)
    except EvalError as error:
        message, span = error.message, error.span
        for use in reversed(program.uses[number]):
            message, span = f"in `{use.name}`: {message}", use.span
        raise EvalError(message, span, error.hint, error.name) from None


def _value(step: Step, values: list[Any], surroundings: Surroundings) -> Any:
    match step:
        case Read(tensor):
            return surroundings.read(tensor)
        case Target(whole):
            return surroundings.target(whole)
        case Stored(load):
            return surroundings.stored(load)
        case Drawn():
            return surroundings.drawn(step, initializer_arguments(step, values))
        case Element(base, items):
            return values[base.step][items]
        case Apply(function, operands, keywords, node):
            named = {name: _operand(value, values) for name, value in keywords}
            return apply(node, surroundings, function, tuple(_operand(value, values) for value in operands), named)


def _operand(operand: Operand, values: list[Any]) -> Any:
    if isinstance(operand, Ref):
        return values[operand.step]
    if isinstance(operand, tuple):
        return tuple(_operand(item, values) for item in operand)
    return operand


def initializer_arguments(step: Drawn, values: list[Any]) -> Arguments:
    """Return the arguments of a draw as its initializer takes them; `values` are those of the steps before.

    Raises EvalError where one that was read off a tensor can't be right.
    """
    if step.is_bound:
        return Arguments(step.arguments)
    given = {name: _operand(value, values) for name, value in step.arguments}
    given = {name: _argument(step.initializer, name, value) for name, value in given.items()}
    try:
        return bind(step.initializer, given)
    except ArgumentError as error:
        span = dict(step.spans).get(error.argument or "", step.span)
        raise EvalError(str(error), span, error.hint, error.name) from None


def _argument(initializer: Initializer, name: str, value: Any) -> Any:
    """Return what an initializer gets of a value that was read: a number, or a tensor of its own where it takes one."""
    if not isinstance(value, torch.Tensor):
        return value
    parameter = initializer.parameter(name)
    whole = parameter is not None and parameter.takes_tensor and (value.ndim > 0 or parameter.needs_tensor)
    return value.clone() if whole else float(value)
