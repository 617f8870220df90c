"""The arguments of a call named, checked and completed, before there is a tensor to fill."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

import pydantic
from pydantic import ConfigDict, TypeAdapter

from initdsl.text.wording import did_you_mean, value_text

from .arguments import ArgumentError, Arguments, Parameter
from .elsewhere import activation_hint
from .initializer import Initializer

__all__ = ["bind", "completed", "parameters_of", "type_of"]


def parameters_of(initializer: Initializer, positional: int, keywords: Iterable[str]) -> list[str]:
    """Return the name of the parameter that each argument of a call goes to, positional ones first.

    Raises ArgumentError for an argument too many, an unknown keyword and a parameter given twice.
    """
    names = [p.name for p in initializer.parameters]
    if positional > len(names):
        few = "no arguments" if not names else f"at most {len(names)} argument{'s' * (len(names) > 1)}"
        raise ArgumentError(f"`{initializer.name}` takes {few}, got {positional}", hint=_call(initializer))
    given = names[:positional]
    for keyword in keywords:
        if keyword not in names:
            message = f"`{initializer.name}` has no argument `{keyword}`"
            hint = did_you_mean(keyword, names) or _call(initializer)
            raise ArgumentError(message, keyword, hint, "unknown-argument")
        if keyword in given:
            raise ArgumentError(f"`{keyword}` is given twice", keyword, _call(initializer))
        given.append(keyword)
    return given


def _call(initializer: Initializer) -> str:
    return f"the call is `{initializer.signature}`"


def bind(initializer: Initializer, given: Mapping[str, Any]) -> Arguments:
    """Check the arguments of a call, by parameter, and complete them with defaults; no shape is looked at.

    Raises ArgumentError that names the argument, the allowed values and the nearest name.
    """
    if any(hasattr(value, "dtype") for value in given.values()):
        return _checked(initializer, given)  # tensors are not to be kept
    key = tuple((name, _exactly(value), value) for name, value in given.items())
    try:
        hash(key)
    except TypeError:
        return _checked(initializer, given)
    return _bound(initializer, key)


@lru_cache(maxsize=4096)  # networks repeat their calls: a rule is bound once for every tensor it fills
def _bound(initializer: Initializer, key: tuple[tuple[str, object, Any], ...]) -> Arguments:
    return _checked(initializer, {name: value for name, _, value in key})


def _exactly(value: Any) -> object:
    """Return what tells apart values that are equal but not the same: 1, 1.0 and True, or 0.0 and -0.0."""
    if isinstance(value, tuple):
        return tuple(map(_exactly, value))
    if isinstance(value, float):
        return float, math.copysign(1.0, value)
    return type(value)


def _checked(initializer: Initializer, given: Mapping[str, Any]) -> Arguments:
    arguments = completed(initializer, given)
    initializer.check_arguments(None, arguments)
    return arguments


def completed(initializer: Initializer, given: Mapping[str, Any]) -> Arguments:
    """Check each argument by its type alone, and complete them with defaults. Raises ArgumentError."""
    parameters_of(initializer, 0, given)  # no others
    values: dict[str, Any] = {}
    for parameter in initializer.parameters:
        name = parameter.name
        if name not in given:
            if parameter.required:
                raise ArgumentError(f"`{initializer.name}` needs `{name}`", name, _call(initializer))
            values[name] = parameter.default
            continue
        try:
            values[name] = type_of(parameter.annotation).validate_python(given[name], strict=True)
        except pydantic.ValidationError as error:
            raise _explained(error, parameter, given[name]) from None
    return Arguments(values)


def type_of(annotation: Any) -> TypeAdapter[Any]:
    """Return pydantic's view of a parameter's type, made when the first argument of that type is checked."""
    try:
        return _type_of(annotation)
    except TypeError:  # not hashable
        return _type_of.__wrapped__(annotation)


@lru_cache(maxsize=1024)
def _type_of(annotation: Any) -> TypeAdapter[Any]:
    try:
        return TypeAdapter(annotation, config=ConfigDict(arbitrary_types_allowed=True))
    except pydantic.PydanticUserError:  # a type with a configuration of its own takes no other
        return TypeAdapter(annotation)


# ------------------------------------------------------------------------------------------- what pydantic refused

# how a bound that pydantic found broken reads, by the type of its error and the key of its limit
_LIMITS = {
    "greater_than_equal": ("at least", "ge"),
    "greater_than": ("greater than", "gt"),
    "less_than_equal": ("at most", "le"),
    "less_than": ("less than", "lt"),
}

# the type that was wanted, by the beginning of the type of pydantic's error
_TYPES = {
    "float": "a number",
    "int": "an integer",
    "bool": "true or false",
    "string": "a string",
    "tuple": "a tuple",
    "list": "a list",
    "dict": "a mapping",
    "is_instance_of": "a tensor",
}


def _explained(error: pydantic.ValidationError, parameter: Parameter, value: object) -> ArgumentError:
    """Return pydantic's first problem in the language's words."""
    problem = error.errors(include_url=False)[0]
    name = parameter.name
    wanted, hint = _limit(problem["type"], problem.get("ctx", {})), None
    if wanted is None and parameter.choices:
        words = ", ".join(f"`{word}`" for word in parameter.choices)
        wanted = f"one of {words}"
        hint = activation_hint(str(value)) if name == "nonlinearity" else None
        hint = hint or did_you_mean(str(value), parameter.choices)
    if wanted is None:
        wanted = next((words for prefix, words in _TYPES.items() if problem["type"].startswith(prefix)), None)
    if wanted is None:
        wanted = str(problem["msg"]).removeprefix("Input should be ").removeprefix("Value error, ")
    return ArgumentError(f"`{name}` must be {wanted}, got {value_text(value)}", name, hint)


def _limit(problem: str, context: Mapping[str, Any]) -> str | None:
    if problem == "finite_number":
        return "finite"
    if problem not in _LIMITS:
        return None
    words, key = _LIMITS[problem]
    return f"{words} {context[key]:g}"
