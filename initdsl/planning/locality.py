"""What an action has to see beyond the elements it writes."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from initdsl.initializers import Random
from initdsl.language.expressions.evaluate import as_path, evaluate
from initdsl.language.expressions.functions import FANS, FUNCTIONS
from initdsl.language.expressions.let import nodes_of
from initdsl.language.expressions.shapes import EvalError, Shape
from initdsl.language.syntax.nodes import Binary, Call, ListNode, Subscript

from .actions import Action, CopyFrom, Draw, Expression, Load
from .names import Names
from .plan import PlanEntry

if TYPE_CHECKING:
    from .plan import Plan

__all__ = ["Scope", "draws", "reads", "scope"]


# ---- what an action needs to see


class Scope(IntEnum):
    """What has to be there to carry an action out on a box."""

    ELEMENT = 0  # the box, and the same box of what it reads
    PIECE = 1  # the values of all that it writes, which don't depend on those that are there
    TENSOR = 2  # the whole tensor as it is at its turn


REDUCTIONS = ("sum", "mean", "std", "norm", "linspace", "resize_rows", "resize_grid", "load")


def scope(
    plan: Plan, entry: PlanEntry, action: Action, shares: Callable[[int], bool], *, of_view: bool = False
) -> Scope:  # fmt: skip
    """What an action needs. `shares` tells whether another tensor's share of the entry's boxes is at hand.

    `of_view`: where the action looks through a view, the boxes are the view's.
    """
    payload = action.payload
    if isinstance(payload, Expression):
        if (action.view is None or of_view) and _by_element(plan, entry, action, payload, shares):
            return Scope.ELEMENT
        return Scope.TENSOR if payload.reads_itself else Scope.PIECE
    if isinstance(payload, Draw):
        return Scope.PIECE if payload.initializer.builtin else Scope.TENSOR
    if isinstance(payload, CopyFrom):
        return Scope.ELEMENT if shares(payload.tensor) else Scope.PIECE
    if isinstance(payload, Load):
        return Scope.ELEMENT if action.view is None else Scope.PIECE
    return Scope.ELEMENT


class _NotByElement(Exception):
    pass


def _by_element(
    plan: Plan, entry: PlanEntry, action: Action, payload: Expression, shares: Callable[[int], bool]
) -> bool:  # fmt: skip
    """Whether every element of the result depends on the same element of what is read: tried on shapes."""
    plan.resolver.lets = action.clause.lets
    trial = _Trial(plan, entry, action, shares)
    try:
        for node in nodes_of(payload.expr, action.clause.lets):
            if isinstance(node, ListNode) or not _node_by_element(plan, entry, node, trial):
                return False
        evaluate(payload.expr, trial)
    except (_NotByElement, EvalError):
        return False
    return True


def _node_by_element(plan: Plan, entry: PlanEntry, node: Any, trial: _Trial) -> bool:
    if isinstance(node, Subscript) and as_path(node) is None:
        return not isinstance(evaluate(node.base, trial), Shape)
    if isinstance(node, Binary):  # torch's float64 power has other last bits in other places of a tensor
        return node.operator != "**" or entry.dtype != "float64"
    if isinstance(node, Call):
        if node.function in REDUCTIONS or node.function in FANS:
            return False
        if node.function in ("min", "max"):
            return len(node.arguments) > 1
        return node.function in FUNCTIONS or plan.resolver.registry[node.function].elementwise
    return True


class _Trial(Names):
    """Names with shapes, that refuses to look at more than one element of a tensor at a time."""

    def __init__(self, plan: Plan, entry: PlanEntry, action: Action, shares: Callable[[int], bool]):
        resolver = plan.resolver
        super().__init__(
            plan.network, resolver.matcher, resolver.registry, action.clause.lets, action.match, entry.tensor.index,
            action.shape, plan.canonical,
        )  # fmt: skip
        self.entry, self.action, self.shares = entry, action, shares

    def read(self, tensor: int) -> Any:
        same = self.network.tensors[tensor].shape == self.entry.shape
        if self.partial or not same or not self.shares(tensor):
            raise _NotByElement
        return super().read(tensor)

    @property
    def partial(self) -> bool:
        return self.action.index is not None or self.action.view is not None

    def whole(self) -> Any:
        if self.partial:
            raise _NotByElement
        return super().whole()

    def path(self, node: Any, path: Any) -> Any:
        value = super().path(node, path)
        if isinstance(value, Shape) and value.dims != self.shape:
            raise _NotByElement
        return value


def draws(plan: Plan, action: Action) -> bool:
    """Whether an action takes random numbers, its module's own default left aside."""
    if not isinstance(action.payload, Expression):
        if isinstance(action.payload, Draw):
            return action.payload.initializer.draws
        return isinstance(action.payload, Random)
    registry = plan.resolver.registry
    calls = (n.function for n in nodes_of(action.payload.expr, action.clause.lets) if isinstance(n, Call))
    return any(name in registry and registry[name].draws for name in calls)


def reads(action: Action) -> tuple[int, ...]:
    """The other tensors whose values an action takes."""
    if isinstance(action.payload, Expression):
        return tuple(t for t in action.payload.reads if t != action.match.tensor)
    return (action.payload.tensor,) if isinstance(action.payload, CopyFrom) else ()
