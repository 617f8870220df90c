"""The streams that draws take under a seed: every draw of a parameter has its own, whatever else is drawn there.

A draw that sets values takes the parameter's first stream, each element at its place, so that a slice has the values of
the whole. What stacks on values, or sets some after others were moved about, takes streams of its own, counted over
those statements of that parameter alone: one that draws nothing moves nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from initdsl.language.expressions.shapes import window
from initdsl.network.parts import TensorInfo

from .actions import Action, Draw, Expression
from .locality import WHOLE
from .program import Apply, Drawn, Element, Step, Target

__all__ = ["moves", "with_streams"]


# streams of one statement; the next one's start above them
PER_STATEMENT = 1 << 20


def with_streams(tensor: TensorInfo, actions: Sequence[Action]) -> list[Action]:
    """Return the actions on a tensor, in their order, each with the streams that it draws from."""
    numbers: dict[int, int] = {}  # by clause, of those that don't draw what the whole would have
    pieces: dict[tuple[int, int, tuple[int, ...]], tuple[int, ...]] = {}
    moved = False
    numbered = []
    for action in actions:
        if action.draws and (moved or action.builds_on_values):
            number = numbers.setdefault(action.clause.number, len(numbers) + 1)
            action = replace(action, stream=number * PER_STATEMENT)
        if _draws_as_one(action) and math.prod(action.shape) != tensor.numel:
            offset, steps = window(action.view or tensor.shape, action.index)
            steps = tuple(step if size > 1 else 0 for size, step in zip(action.shape, steps, strict=True))
            if pieces.setdefault((action.stream, offset, action.shape), steps) != steps:
                action = replace(action, stream_strides=steps)
        moved = moved or moves(action)
        numbered.append(action)
    return numbered


def _draws_as_one(action: Action) -> bool:
    """Return whether an action draws a tensor as one, and not each element by its place."""
    if isinstance(action.payload, Expression):
        steps = action.payload.program.steps
        return any(isinstance(step, Drawn) and not step.initializer.elementwise for step in steps)
    return isinstance(action.payload, Draw)


def moves(action: Action) -> bool:
    """Return whether an action puts values of the tensor, or what comes of them, in other places of it."""
    if not isinstance(action.payload, Expression) or not action.payload.reads_itself:
        return False
    is_piece = action.index is not None or action.view is not None

    def moving(step: Step) -> bool:
        match step:
            case Element():
                return True
            case Target(whole):
                return whole and is_piece
            case Apply("min" | "max"):
                return len(step.operands) == 1
            case Apply():
                return step.function in WHOLE and step.function != "linspace"
        return False

    return any(map(moving, action.payload.program.steps))
