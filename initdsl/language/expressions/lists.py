"""Arithmetic on lists of numbers: every element by itself, broadcast as tensors are."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from .shapes import EvalError, broadcast, nested_shape

__all__ = ["element_by_element", "flat"]


# elements of what broadcasting makes of lists: they are small, and a larger table comes from a file
MOST_ELEMENTS = 1 << 20


def element_by_element(node: Any, function: Callable[..., Any], operands: tuple[Any, ...]) -> list[Any]:
    """Return the nested list of what a function of numbers makes of lists, element by element.

    Raises EvalError at `node` for lists that don't broadcast, and what `function` raises.
    """
    shapes = [nested_shape(operand, node) for operand in operands]
    shape: tuple[int, ...] = ()
    for other in shapes:
        joined = broadcast(shape, other)
        if joined is None:
            message = f"shapes {list(shape)} and {list(other)} don't broadcast"
            raise EvalError(message, node.span, name="bad-shape")
        shape = joined
    if math.prod(shape) > MOST_ELEMENTS:
        raise EvalError(f"a list has at most {MOST_ELEMENTS:,} elements", node.span, name="bad-shape")
    made = _nested(function, tuple(zip(operands, map(len, shapes), strict=True)), shape)
    assert isinstance(made, list)
    return made


def _nested(function: Callable[..., Any], operands: tuple[tuple[Any, int], ...], shape: tuple[int, ...]) -> Any:
    """Return what the function makes of the operands' elements; each comes with its number of dimensions."""
    if not shape:
        return function(*(value for value, _ in operands))

    def row(value: Any, ndim: int, i: int) -> tuple[Any, int]:
        if ndim < len(shape):
            return value, ndim
        return value[0 if len(value) == 1 else i], ndim - 1

    return [_nested(function, tuple(row(*operand, i) for operand in operands), shape[1:]) for i in range(shape[0])]


def flat(value: Any) -> list[Any]:
    """Return the elements of nested lists, one after another."""
    return [item for part in value for item in flat(part)] if isinstance(value, list | tuple) else [value]
