"""Calls of initializers: their arguments bound and checked."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Protocol

from initdsl.initializers import ArgumentError, Arguments, Initializer, Registry, bind, parameters_of
from initdsl.initializers.elsewhere import initializer_hint
from initdsl.language.expressions.evaluate import evaluate
from initdsl.language.expressions.functions import FANS, FUNCTIONS
from initdsl.language.expressions.operators import Environment
from initdsl.language.expressions.shapes import EvalError, Shape
from initdsl.language.syntax.nodes import Argument, Call, Name

__all__ = ["Bound", "bind_call", "check_shape", "unknown_call"]


def unknown_call(node: Call, registry: Registry) -> EvalError:
    """Return the error that no initializer and no function has this name."""
    words = [*registry, *FUNCTIONS, *FANS, "len", "load"]
    name = node.function
    hint = initializer_hint(name, words)
    if hint is None:
        hint = "Python code that registers it is imported first: `import my_init`, or `--import my_init` on the command line"
    return EvalError(f"no initializer is named `{name}`", node.name_span, hint, "unknown-initializer")


class CallEnvironment(Environment, Protocol):
    """An environment in which words of an enumeration and names are told apart."""

    def is_name(self, name: str) -> bool:
        """Return whether a name is bound or a `let`."""


# an initializer, its checked arguments, and the arguments as they were given where one is read off tensors
Bound = tuple[Initializer, Arguments, "dict[str, Any] | None"]


def bind_call(node: Call, registry: Registry, env: CallEnvironment) -> Bound:
    """Return a call's initializer and its checked arguments. Raises EvalError at the argument that is wrong.

    An argument that is read off tensors is checked once it has a value: until then its default, or 1, stands for it.
    Where there is one, the arguments as they were given come third.
    """
    initializer = registry.get(node.function)
    if initializer is None:
        raise unknown_call(node, registry)
    given = {
        name: _argument(initializer, name, argument, env)
        for name, argument in zip(_argument_names(node, initializer), node.arguments, strict=True)
    }
    operands = given if any(isinstance(value, Shape) for value in given.values()) else None
    values = {name: _stand_in(initializer, name, value) for name, value in given.items()}
    try:
        return initializer, bind(initializer, values), operands
    except ArgumentError as error:
        arguments = dict(zip(given, node.arguments, strict=True))
        wrong = arguments.get(error.argument or "", node)
        raise EvalError(str(error), wrong.span, error.hint, error.name) from None


def _argument_names(node: Call, initializer: Initializer) -> list[str]:
    """Return by which names the initializer takes the arguments. Raises EvalError at one that it doesn't take."""
    for one, next_one in pairwise(node.arguments):
        if one.name is not None and next_one.name is None:
            message = "a positional argument stands before those by name"
            raise EvalError(message, next_one.span, name="bad-argument")
    keywords = [argument.name for argument in node.arguments if argument.name is not None]
    try:
        return parameters_of(initializer, len(node.arguments) - len(keywords), keywords)
    except ArgumentError as error:
        named = [a.span for a in node.arguments if a.name is not None and a.name == error.argument]
        raise EvalError(str(error), named[-1] if named else node.span, error.hint, error.name) from None


def _argument(initializer: Initializer, name: str, argument: Argument, env: CallEnvironment) -> Any:
    """Return the value of an argument; of a word of an enumeration the word. Raises EvalError for a tensor of elements."""
    parameter = initializer.parameter(name)
    assert parameter is not None
    node = argument.value
    if isinstance(node, Name) and parameter.choices and (node.name in parameter.choices or not env.is_name(node.name)):
        return node.name
    value = evaluate(node, env)
    if isinstance(value, Shape) and value.dims != () and not (parameter.takes_tensor and not initializer.elementwise):
        message = f"`{name}` must be a number, this is a tensor of shape {list(value.dims)}"
        hint = None if initializer.builtin else f"`{name}: torch.Tensor` in its function takes one"
        raise EvalError(message, argument.span, hint, "bad-argument")
    return value


def _stand_in(initializer: Initializer, name: str, value: Any) -> Any:
    """Return what an argument is checked with: of one that is read off tensors its default, or 1; of a tensor its shape."""
    if isinstance(value, Shape):
        parameter = initializer.parameter(name)
        if parameter is not None and parameter.takes_tensor and (value.dims or parameter.needs_tensor):
            import torch  # its function has it anyway

            return torch.empty(value.dims, device="meta")
        return 1.0 if parameter is None or parameter.required else parameter.default
    return tuple(value) if isinstance(value, list) else value


def check_shape(node: Call, initializer: Initializer, shape: tuple[int, ...], arguments: Arguments) -> None:
    """Raise EvalError where an initializer can't fill a tensor of this shape."""
    try:
        initializer.check_shape(shape, arguments)
    except ArgumentError as error:
        raise EvalError(str(error), node.span, error.hint, error.name) from None
