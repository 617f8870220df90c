"""Operators over numbers, tensors and shapes."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any, Protocol

from initdsl.language.syntax import nodes
from initdsl.language.syntax.nodes import Binary, Call, Length, Name, Path

from .shapes import EvalError, Shape, broadcast, describe_value, is_tensor, shape_of

__all__ = [
    "OPERATORS",
    "Environment",
    "Surroundings",
    "booleans_as_floats",
    "check_result",
    "combine",
    "logical",
    "power",
    "require_number",
]


INT_LIMIT = 2**63


class Surroundings(Protocol):
    """What functions ask of the tensor that an expression is for."""

    @property
    def steady(self) -> bool:
        """Whether a value may depend neither on the layout of tensors nor on the number of threads."""

    def target_shape(self, node: nodes.Expr) -> tuple[int, ...]:
        """The shape `index(d)` counts in."""

    def extent(self, d: int, size: int) -> range:
        """The coordinates along dimension `d` that are computed; all of `size`, but where it is a part's turn."""

    def tensor(self, values: Any) -> Any:
        """Nested lists of numbers, or a range, as a tensor."""


class Environment(Surroundings, Protocol):
    """Where names get their values."""

    def name(self, node: Name) -> Any:
        """The value of a name; raises EvalError if there is none."""

    def path(self, node: nodes.Expr, path: Path) -> Any:
        """The value at a path from `net`: a tensor or a plain attribute."""

    def draw(self, node: Call) -> Any:
        """A call that is not a function of the language: an initializer, as a tensor of the target's shape."""

    def length(self, node: Length) -> int:
        """How much a selector selects."""

    def base_shape(self, node: Call, path: Any) -> tuple[int, ...]:
        """The shape of the target in the model that a manifest describes."""

    def note(
        self, node: nodes.Expr, function: str, operands: tuple[Any, ...], keywords: dict[str, Any], value: Shape
    ) -> Shape:
        """The shape of what a function of tensors gives, once those have values."""

    def note_element(self, node: nodes.Expr, base: Shape, items: tuple[Any, ...], dims: tuple[int, ...]) -> Shape:
        """The shape of a part of a tensor."""


# ---- functions of the language


def require_number(value: Any, node: Any, what: str = "a number") -> Any:
    if is_tensor(value) or (isinstance(value, bool | int | float)):
        return value
    raise EvalError(f"this is {describe_value(value)}, not {what}", node.span, hint_at_tuple(value))


def hint_at_tuple(value: Any) -> str | None:
    """Return what to write where a tuple stands in arithmetic."""
    return "a vector is a list, `[1, 2]`; one item of a tuple is `x[0]`" if isinstance(value, tuple) else None


def booleans_as_floats(x: Any) -> Any:
    """A comparison's result takes part in arithmetic as 0 and 1."""
    if is_tensor(x) and not isinstance(x, Shape) and not (x.is_floating_point() or x.is_complex()):
        import torch

        return x.to(torch.float32)
    return x


def check_result(node: Any, value: Any, inputs: Any) -> Any:
    """An integer kept to 64 bits; a float that is finite if its inputs are."""
    if isinstance(value, int):
        if not -INT_LIMIT <= value < INT_LIMIT:
            raise EvalError(
                "the result needs more than 64 bits", node.span, "use floats, as in `2.0 ** 100`", "overflow"
            )
    elif isinstance(value, float) and not math.isfinite(value):
        if all(math.isfinite(v) for v in inputs if isinstance(v, int | float)):
            raise EvalError("the result is not finite", node.span, name="overflow")
    elif isinstance(value, complex):
        raise EvalError("the result is not a real number", node.span)
    return value


OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv, "//": operator.floordiv,
    "%": operator.mod, "**": operator.pow,
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


COMPARISONS = frozenset(["==", "!=", "<", "<=", ">", ">="])


def power(node: Binary, left: Any, right: Any) -> Any:
    """A float32 power by way of float64: torch's own has other last bits at the end of a thread's part than in it."""
    if any(getattr(v, "dtype", None) is not None and str(v.dtype) == "torch.float64" for v in (left, right)):
        return combine(node, "**", left, right)
    left, right = (v.double() if hasattr(v, "double") else v for v in (left, right))
    value = combine(node, "**", left, right)
    return value.float() if hasattr(value, "float") else value


def combine(node: Any, op: str, left: Any, right: Any) -> Any:
    """`left op right` for numbers and tensors; `node` is blamed for what goes wrong."""
    if not is_tensor(left) and not is_tensor(right):
        return _scalars(node, op, left, right)
    for side, value in (("left", left), ("right", right)):
        require_number(value, getattr(node, side, node))
    shape = broadcast(shape_of(left), shape_of(right))
    if shape is None:
        raise EvalError(
            f"shapes {list(shape_of(left))} and {list(shape_of(right))} don't broadcast", node.span, name="bad-shape"
        )
    if op in ("/", "//", "%") and not is_tensor(right) and right == 0:
        raise EvalError("division by zero", node.span, name="division-by-zero")
    if isinstance(left, Shape) or isinstance(right, Shape):
        return Shape(shape)
    return OPERATORS[op](booleans_as_floats(left), booleans_as_floats(right))


def _scalars(node: Any, op: str, left: Any, right: Any) -> Any:
    if op in ("==", "!="):
        if isinstance(left, list):
            left = tuple(left)
        if isinstance(right, list):
            right = tuple(right)
        return OPERATORS[op](left, right)
    numbers = isinstance(left, int | float) and isinstance(right, int | float)
    if not numbers:
        wrong, side = (left, "left") if not isinstance(left, int | float) else (right, "right")
        span = getattr(node, side, node).span
        raise EvalError(f"this is {describe_value(wrong)}, not a number", span, hint_at_tuple(wrong))
    if op in COMPARISONS:
        return OPERATORS[op](left, right)
    if op == "**" and isinstance(left, int) and isinstance(right, int) and right > 0 and abs(left) > 1:
        if right * math.log2(abs(left)) > 64:
            raise EvalError(
                "the result needs more than 64 bits", node.span, "use floats, as in `2.0 ** 100`", "overflow"
            )
    try:
        return check_result(node, OPERATORS[op](left, right), (left, right))
    except ZeroDivisionError:
        raise EvalError("division by zero", node.span, name="division-by-zero") from None
    except OverflowError:
        raise EvalError("the result is not finite", node.span, name="overflow") from None


def logical(node: Binary, op: str, left: Any, right: Any) -> Any:
    shape = broadcast(shape_of(require_number(left, node.left)), shape_of(require_number(right, node.right)))
    if shape is None:
        raise EvalError(
            f"shapes {list(shape_of(left))} and {list(shape_of(right))} don't broadcast", node.span, name="bad-shape"
        )
    if isinstance(left, Shape) or isinstance(right, Shape):
        return Shape(shape)
    a, b = left != 0, right != 0
    return (a & b) if op == "and" else (a | b)
