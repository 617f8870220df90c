"""What an action has to see beyond the elements it writes."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import TYPE_CHECKING

from .actions import Action, CopyFrom, Draw, Expression
from .plan import PlanEntry
from .program import Apply, Drawn, Load, Program, Read, Step, Target

if TYPE_CHECKING:
    from .plan import Plan

__all__ = ["Locality", "locality_of"]


# ---- what an action needs to see


class Locality(IntEnum):
    """What has to be there to carry an action out on a box: `Locality.ELEMENT` for `*= 2`."""

    ELEMENT = 0  # the box, and the same box of what it reads
    PIECE = 1  # the values of all that it writes, which don't depend on those that are there
    TENSOR = 2  # the whole tensor as it is at its turn


# functions that look at all elements, or whose result has places of its own
WHOLE = frozenset(["sum", "mean", "std", "norm", "linspace", "resize_rows", "resize_grid"])


def locality_of(
    plan: Plan, entry: PlanEntry, action: Action, shares: Callable[[int], bool], *, of_view: bool = False
) -> Locality:
    """Return what an action needs. `shares` tells whether another tensor's share of the entry's boxes is at hand.

    `of_view`: where the action looks through a view, the boxes are the view's.
    """
    payload = action.payload
    if isinstance(payload, Expression):
        if (action.view is None or of_view) and _by_element(plan, entry, action, payload.program, shares):
            return Locality.ELEMENT
        return Locality.TENSOR if payload.reads_itself else Locality.PIECE
    if isinstance(payload, Draw):
        return Locality.PIECE if payload.initializer.builtin else Locality.TENSOR
    if isinstance(payload, CopyFrom):
        return Locality.ELEMENT if shares(payload.tensor) else Locality.PIECE
    if isinstance(payload, Load):
        return Locality.ELEMENT if action.view is None else Locality.PIECE
    return Locality.ELEMENT


def _by_element(plan: Plan, entry: PlanEntry, action: Action, program: Program, shares: Callable[[int], bool]) -> bool:
    """Return whether every element of the result depends on the same element of what is read."""
    partial = action.index is not None or action.view is not None
    tensors = plan.network.tensors

    def local(step: Step) -> bool:
        match step:
            case Read(tensor):
                return not partial and tensors[tensor].shape == entry.shape and shares(tensor)
            case Target(whole):
                return not (whole and partial)
            case Drawn():
                return step.initializer.elementwise
            case Apply() if any(isinstance(operand, tuple) for operand in step.operands):
                return False  # a list has elements of its own
            case Apply("**"):  # torch's float64 power has other last bits in other places of a tensor
                return entry.tensor.floating and entry.dtype != "float64"
            case Apply("min" | "max"):
                return len(step.operands) > 1
            case Apply():
                return step.function not in WHOLE
        return False

    return not isinstance(program.result, tuple) and all(map(local, program.steps))
