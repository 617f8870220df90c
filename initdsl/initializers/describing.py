"""A function described as an initializer: its parameters and whether it draws, read off its signature."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from .arguments import Parameter
from .initializer import Initializer

__all__ = ["described", "named"]


def described(function: Callable[..., Any], name: str | None = None) -> Initializer:
    """Return the initializer that a function makes, under its own name or another one.

    Raises TypeError for a signature that rules can't call.
    """
    word = name or function.__name__
    signature = inspect.signature(function)
    first, *rest = signature.parameters.values() or (None,)
    if first is None or first.kind in (first.VAR_KEYWORD, first.KEYWORD_ONLY):
        raise TypeError(f"initializer `{word}` must take the tensor as its first parameter")
    if not word.isidentifier():
        raise TypeError(f"initializer name `{word}` is not an identifier")
    unnamed = next((p for p in rest if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD)), None)
    if unnamed is not None:
        raise TypeError(f"initializer `{word}` must name its parameters, `{unnamed}` does not")
    elementwise = first.name == "shape"
    takes_generator = any(p.name == "generator" for p in rest)
    return Initializer(
        name=word,
        function=function,
        parameters=tuple(_parameter(function, p) for p in rest if p.name != "generator"),
        elementwise=elementwise,
        draws="Constant" not in str(signature.return_annotation) if elementwise else takes_generator,
        takes_generator=takes_generator,
    )


def named(function: Callable[..., Any], name: str) -> Initializer:
    """Return somebody's function as an initializer called `name`; one that was decorated keeps its bounds and check."""
    own = getattr(function, "__initdsl__", None)
    if not isinstance(own, Initializer):
        return described(function, name)
    if own.name == name:
        return own
    return replace(described(function, name), min_ndim=own.min_ndim, max_ndim=own.max_ndim, check=own.check)


def _parameter(function: Callable[..., Any], parameter: inspect.Parameter) -> Parameter:
    required = parameter.default is parameter.empty
    annotation = _annotation(function, parameter)
    return Parameter(parameter.name, annotation, None if required else parameter.default, required)


def _annotation(function: Callable[..., Any], parameter: inspect.Parameter) -> Any:
    """Return the parameter's type; a name that can't be evaluated, and no annotation, mean the type of the default."""
    annotation = parameter.annotation
    if isinstance(annotation, str):
        try:
            annotation = eval(annotation, getattr(function, "__globals__", {}))
        except Exception:
            annotation = parameter.empty
    if annotation is not parameter.empty:
        return annotation
    if isinstance(parameter.default, bool) or not isinstance(parameter.default, int | float):
        return Any
    return float
