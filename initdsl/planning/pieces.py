"""Pieces of tensors: what the view and the index of a match come to."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

from initdsl.language.expressions.evaluate import evaluate, index_item
from initdsl.language.expressions.operators import Environment
from initdsl.language.expressions.shapes import EvalError, index_shape
from initdsl.language.syntax.nodes import Every, Index, View
from initdsl.network.selectors.matches import Match

from .names import Names

__all__ = ["Piece", "PieceCount", "pieces_of"]


# that `[*]` may make in one plan: each is a tensor of its own, and more are rather a mistake than a wish
MOST_PIECES = 200_000


# what an index of a tensor has: ints, slices and `...`
Items = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a tensor: `Piece(view=None, items=(0, slice(None)), shape=(4,))` is its first row.

    `view` is the shape that the tensor is seen in, before `items` index it; None for its own. `shape` is the piece's.
    """

    view: tuple[int, ...] | None
    items: Items | None
    shape: tuple[int, ...]


@dataclass
class PieceCount:
    """How many pieces `[*]` made in this plan."""

    pieces: int = 0


def pieces_of(match: Match, shape: tuple[int, ...], env: Names, count: PieceCount) -> Iterator[Piece]:
    """Yield every piece a match means of a tensor of this shape; none where an index is `none`. Raises EvalError."""
    view: tuple[int, ...] | None = None
    if match.view is not None:
        if match.index is not None:
            raise EvalError("a slice stands after the `as`, not before it", match.index.span, name="bad-index")
        view = shape = _viewed(match.view, shape, env)
    index = match.view.index if match.view is not None else match.index
    if index is None:
        yield Piece(view, None, shape)
        return
    every = [place for place, item in enumerate(index.items) if isinstance(item, Every)]
    items = [slice(None) if isinstance(item, Every) else index_item(item, env) for item in index.items]
    if any(item is None for item in items):
        return
    whole = index_shape(shape, tuple(items), index)
    if not every:
        yield Piece(view, tuple(items), whole)
        return
    if any(item is ... for item in items):
        raise EvalError("`*` and `...` don't stand in one index", index.span, name="bad-index")
    _count(count, math.prod(shape[place] for place in every), index)
    for combination in product(*[range(shape[place]) for place in every]):
        for place, value in zip(every, combination, strict=True):
            items[place] = value
        yield Piece(view, tuple(items), index_shape(shape, tuple(items), index))


def _count(count: PieceCount, pieces: int, index: Index) -> None:
    """Count the pieces of a `[*]`. Raises EvalError where a plan would have too many."""
    count.pieces += pieces
    if count.pieces > MOST_PIECES:
        message = f"with this, `[*]` makes {count.pieces:,} pieces, and a plan has at most {MOST_PIECES:,}"
        raise EvalError(message, index.span, "write `[:]` for all of it as one piece", "bad-index")


def _viewed(view: View, shape: tuple[int, ...], env: Environment) -> tuple[int, ...]:
    """Return the shape that an `as (...)` gives to a tensor of this shape. Raises EvalError where it doesn't fit."""
    sizes = []
    for part in view.shape:
        size = evaluate(part, env)
        if isinstance(size, bool) or not isinstance(size, int) or (size < 1 and size != -1):
            raise EvalError("a size is a positive integer, or one -1", part.span, name="bad-shape")
        sizes.append(size)
    if sizes.count(-1) > 1:
        raise EvalError("only one size can be -1", view.span, name="bad-shape")
    given, total = math.prod(s for s in sizes if s != -1), math.prod(shape)
    if (-1 in sizes and total % given) or (-1 not in sizes and given != total):
        raise EvalError(f"shape {list(shape)} can't be seen as {sizes}", view.span, name="bad-shape")
    return tuple(total // given if s == -1 else s for s in sizes)
