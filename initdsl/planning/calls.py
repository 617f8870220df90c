"""Calls of initializers: their arguments bound and checked."""

from __future__ import annotations

from typing import Any

from initdsl.initializers import ArgumentError, Arguments, Initializer, Registry, bind, parameters_of
from initdsl.language.expressions.evaluate import evaluate
from initdsl.language.expressions.functions import FANS, FUNCTIONS
from initdsl.language.expressions.shapes import EvalError, Shape
from initdsl.language.syntax import nodes
from initdsl.language.syntax.nodes import Call, Name, String, Word
from initdsl.network.description import MISSING
from initdsl.text.wording import did_you_mean

__all__ = ["bind_call", "check_shape", "unknown_call"]


def unknown_call(node: Call, registry: Registry) -> EvalError:
    """No initializer and no function has this name."""
    words = [*registry, *FUNCTIONS, *FANS, "len", "load"]
    name = node.function
    hint = did_you_mean(name, words)
    if name.endswith("_") and name[:-1] in registry:
        hint = f"did you mean `{name[:-1]}`?"
    return EvalError(f"no initializer is named `{name}`", node.name_span, hint, "unknown-initializer")


def bind_call(node: Call, registry: Registry, env: Any) -> tuple[Initializer, Arguments, dict[str, Any] | None]:
    """A call's initializer and its checked arguments. Raises EvalError at the argument that is wrong.

    An argument that is read off tensors is checked once it has a value: until then its default, or 1, stands for it.
    Where there is one, the arguments as they were given come third.
    """
    initializer = registry.get(node.function)
    if initializer is None:
        raise unknown_call(node, registry)
    positional = [a for a in node.arguments if a.name is None]
    late = next(
        (b for a, b in zip(node.arguments, node.arguments[1:], strict=False) if a.name is not None and b.name is None),
        None,
    )
    if late is not None:
        raise EvalError("a positional argument stands before those by name", late.span, name="bad-argument")
    try:
        names = parameters_of(initializer, len(positional), [str(a.name) for a in node.arguments if a.name is not None])
    except ArgumentError as error:
        named = [a.span for a in node.arguments if a.name is not None and a.name == error.argument]
        wrong = named[-1] if named else node.span
        raise EvalError(str(error), wrong, error.hint, error.name) from None
    values: dict[str, Any] = {}
    given: dict[str, Any] = {}
    for name, argument in zip(names, node.arguments, strict=True):
        parameter = initializer.parameter(name)
        assert parameter is not None
        value = argument.value
        if isinstance(value, Name) and parameter.choices:
            if value.name in parameter.choices or (value.name not in env.lets and value.name not in env.bindings):
                values[name] = given[name] = value.name
                continue
        found = given[name] = evaluate(value, env)
        if isinstance(found, Shape):
            if found.dims != ():
                raise EvalError(
                    f"`{name}` must be a number, this is a tensor of shape {list(found.dims)}", argument.span,
                    name="bad-argument",
                )  # fmt: skip
            found = parameter.default if not parameter.required else 1.0
        if isinstance(found, list):
            found = tuple(found)
        values[name] = found
    try:
        operands = given if any(isinstance(value, Shape) for value in given.values()) else None
        return initializer, bind(initializer, values), operands
    except ArgumentError as error:
        span = node.span
        for name, argument in zip(names, node.arguments, strict=True):
            if name == error.argument:
                span = argument.span
        raise EvalError(str(error), span, error.hint, error.name) from None


def check_shape(node: Call, initializer: Initializer, shape: tuple[int, ...], arguments: Arguments) -> None:
    try:
        initializer.check_shape(shape, arguments)
    except ArgumentError as error:
        raise EvalError(str(error), node.span, error.hint, error.name) from None


def literal(node: nodes.Expr) -> Any:
    """The value of a string or word, else MISSING."""
    return node.value if isinstance(node, String) else node.word if isinstance(node, Word) else MISSING
