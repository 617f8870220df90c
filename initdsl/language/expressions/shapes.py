"""Shapes that stand for tensors: broadcasting and basic indexing, worked out without values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from initdsl.text.source import Span

__all__ = [
    "EvalError",
    "Shape",
    "broadcast",
    "describe_value",
    "extents",
    "full_index",
    "index_shape",
    "is_tensor",
    "joined",
    "nested_shape",
    "row_major",
    "shape_of",
    "window",
]


def full_index(index: tuple[Any, ...], ndim: int) -> list[Any]:
    """An index with one item for every dimension."""
    count = sum(item is not ... for item in index)
    items: list[Any] = []
    for item in index:
        items += [slice(None)] * (ndim - count) if item is ... else [item]
    return items + [slice(None)] * (ndim - len(items))


def row_major(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The strides of a contiguous tensor of this shape, in elements."""
    strides = [1] * len(shape)
    for d in range(len(shape) - 2, -1, -1):
        strides[d] = strides[d + 1] * shape[d + 1]
    return tuple(strides)


def joined(sizes: Sequence[int], strides: Sequence[int]) -> list[tuple[int, int]]:
    """Return `(size, stride)` of as few dimensions as may be, outermost first: neighbours that count on are one.

    >>> joined((2, 1, 3, 4), (24, 7, 4, 1))
    [(2, 24), (12, 1)]
    """
    dims: list[tuple[int, int]] = []
    for size, stride in zip(sizes, strides, strict=True):
        if size == 1:
            continue
        if dims and dims[-1][1] == size * stride:
            dims[-1] = (dims[-1][0] * size, stride)
        else:
            dims.append((size, stride))
    return dims


def window(shape: tuple[int, ...], index: tuple[Any, ...] | None) -> tuple[int, tuple[int, ...]]:
    """Offset and strides, in the row-major numbering of the whole, of what basic indexing selects."""
    strides = row_major(shape)
    if index is None:
        return 0, strides
    offset, place = 0, 0
    out: list[int] = []
    count = sum(item is not ... for item in index)
    for item in index:
        if item is ...:
            skipped = len(shape) - count
            out += strides[place : place + skipped]
            place += skipped
            continue
        if isinstance(item, slice):
            start, _, step = item.indices(shape[place])
            offset += start * strides[place]
            out.append(step * strides[place])
        else:
            offset += (item % shape[place]) * strides[place]
        place += 1
    return offset, (*out, *strides[place:])


class EvalError(Exception):
    """An expression that can't be right: a diagnostic without its source yet."""

    def __init__(self, message: str, span: Span, hint: str | None = None, name: str = "bad-expression"):
        super().__init__(message)
        self.message, self.span, self.hint, self.name = message, span, hint, name


class NotThere(EvalError):
    """A path of an expression that leads to nothing."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A tensor of which only the shape is known."""

    dims: tuple[int, ...]


def is_tensor(value: Any) -> bool:
    return isinstance(value, Shape) or hasattr(value, "dtype")


def shape_of(value: Any) -> tuple[int, ...]:
    return value.dims if isinstance(value, Shape) else tuple(value.shape) if hasattr(value, "shape") else ()


def broadcast(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...] | None:
    """The shape two shapes broadcast to, or `None`."""
    if a == b:
        return a
    longest = max(len(a), len(b))
    out = []
    for x, y in zip((1,) * (longest - len(a)) + a, (1,) * (longest - len(b)) + b, strict=True):
        if x != y and x != 1 and y != 1:
            return None
        out.append(y if x == 1 else x)
    return tuple(out)


def describe_value(value: Any) -> str:
    """A value in words."""
    if value is None:
        return "`none`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, str):
        return f'the string "{value}"'
    if isinstance(value, tuple):
        return "a tuple"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, dict):
        return "a mapping"
    if is_tensor(value):
        return f"a tensor of shape {list(shape_of(value))}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def index_shape(shape: tuple[int, ...], items: tuple[Any, ...], node: Any) -> tuple[int, ...]:
    """The shape basic indexing gives; EvalError for what is out of range, too many indices or an empty slice."""
    count = sum(item is not ... for item in items)
    if sum(item is ... for item in items) > 1:
        raise EvalError("an index has at most one `...`", node.span, name="bad-index")
    if count > len(shape):
        raise EvalError(
            f"{count} {'index' if count == 1 else 'indices'} for shape {list(shape)}", node.span, name="bad-index"
        )
    out: list[int] = []
    place = 0
    for item in items:
        if item is ...:
            skipped = len(shape) - count
            out += shape[place : place + skipped]
            place += skipped
            continue
        size = shape[place]
        if isinstance(item, slice):
            for bound in (item.start, item.stop):
                if bound is not None and not -size <= bound <= size:
                    raise EvalError(
                        f"slice bound {bound} is out of range for dimension {place} of shape {list(shape)}",
                        node.span,
                        name="bad-index",
                    )
            if item.step is not None and item.step < 1:
                raise EvalError(f"a slice's step is at least 1, this is {item.step}", node.span, name="bad-index")
            length = len(range(*item.indices(size)))
            if length == 0 and size > 0:
                raise EvalError("the slice is empty", node.span, name="bad-index")
            out.append(length)
        elif item is None:
            raise EvalError("an index must be an integer, this is `none`", node.span, name="bad-index")
        elif not -size <= item < size:
            raise EvalError(
                f"index {item} is out of range for dimension {place} of shape {list(shape)}",
                node.span,
                name="bad-index",
            )
        place += 1
    return (*out, *shape[place:])


def nested_shape(values: Any, node: Any) -> tuple[int, ...]:
    """The shape of nested lists of numbers; EvalError where rows differ in length or something is no number."""
    if not isinstance(values, list):
        if isinstance(values, bool | int | float):
            return ()
        raise EvalError(f"a literal holds numbers, this is {describe_value(values)}", node.span)
    if not values:
        return (0,)
    shapes = {nested_shape(value, node) for value in values}
    if len(shapes) > 1:
        raise EvalError("the rows of the literal differ in length", node.span, name="bad-shape")
    return (len(values), *shapes.pop())


def extents(index: tuple[Any, ...], shape: tuple[int, ...]) -> list[range]:
    """The coordinates basic indexing selects, by dimension."""
    return [
        range(*item.indices(size)) if isinstance(item, slice) else range(item % size, item % size + 1)
        for item, size in zip(full_index(index, len(shape)), shape, strict=True)
    ]
