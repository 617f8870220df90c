"""The expression language: evaluated over numbers and over tensors, and over shapes alone while a plan is made.

One evaluator serves both: `Shape` stands for a tensor whose values are not looked at. Every expression ends: there are
no loops, numbers are floats or 64-bit integers, and the tree's depth is bounded by the loader.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, get_args

from initdsl.initializers.fans import Nonlinearity, gain
from initdsl.language.syntax import nodes
from initdsl.language.syntax.nodes import (
    Binary,
    Call,
    Ellipsis,
    Every,
    Index,
    Length,
    ListNode,
    Mapping,
    Member,
    Name,
    Number,
    Path,
    Slice,
    Step,
    String,
    Subscript,
    TupleNode,
    Unary,
    Word,
)
from initdsl.text.source import Span

if TYPE_CHECKING:
    import torch

__all__ = [
    "FANS",
    "FUNCTIONS",
    "Environment",
    "EvalError",
    "Shape",
    "as_path",
    "broadcast",
    "combine",
    "describe_value",
    "evaluate",
    "index_item",
    "index_shape",
    "nested_shape",
    "subscript",
    "torch_tensor",
]


INT_LIMIT = 2**63


WORDS = {"true": True, "false": False, "none": None, "inf": math.inf, "nan": math.nan, "pi": math.pi}


class EvalError(Exception):
    """An expression that can't be right: a diagnostic without its source yet."""

    def __init__(self, message: str, span: Span, hint: str | None = None, name: str = "bad-expression"):
        super().__init__(message)
        self.message, self.span, self.hint, self.name = message, span, hint, name


@dataclass(frozen=True, slots=True)
class Shape:
    """A tensor of which only the shape is known."""

    dims: tuple[int, ...]


class Environment(Protocol):
    """Where names get their values."""

    def name(self, node: Name) -> Any:
        """The value of a name; raises EvalError if there is none."""

    def path(self, node: nodes.Expr, path: Path) -> Any:
        """The value at a path from `net`: a tensor or a plain attribute."""

    def draw(self, node: Call) -> Any:
        """A call that is not a function of the language: an initializer, as a tensor of the target's shape."""

    def length(self, node: Length) -> int:
        """How much a selector selects."""

    def target_shape(self, node: nodes.Expr) -> tuple[int, ...]:
        """The shape `index(d)` counts in."""

    def base_shape(self, node: Call, path: Any) -> tuple[int, ...]:
        """The shape of the target in the network that a manifest describes."""

    def extent(self, d: int, size: int) -> range:
        """The coordinates along dimension `d` that are computed; all of `size`, but where it is a part's turn."""

    def tensor(self, values: Any) -> Any:
        """Nested lists of numbers, or a range, as a tensor."""


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


# ---- functions of the language


def _number(value: Any, node: Any, what: str = "a number") -> Any:
    if is_tensor(value) or (isinstance(value, bool | int | float)):
        return value
    raise EvalError(f"this is {describe_value(value)}, not {what}", node.span)


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


def _elementwise(scalar: Callable[[float], Any], method: str) -> Callable[..., Any]:
    def function(call: Call, env: Environment, x: Any) -> Any:
        x = _number(x, call.arguments[0])
        if isinstance(x, Shape):
            return x
        if is_tensor(x):
            import torch

            return getattr(torch, method)(_float(x))
        try:
            return _checked(call, scalar(x), (x,))
        except (ValueError, OverflowError):
            raise EvalError(f"`{call.function}` of {describe_value(x)} is not a finite number", call.span) from None

    return function


def _float(x: Any) -> Any:
    """A comparison's result takes part in arithmetic as 0 and 1."""
    if is_tensor(x) and not isinstance(x, Shape) and not x.is_floating_point():
        import torch

        return x.to(torch.float32)
    return x


def _many(call: Call, values: tuple[Any, ...]) -> tuple[Any, ...]:
    for value, argument in zip(values, call.arguments, strict=True):
        _number(value, argument)
    return values


def _common(call: Call, values: tuple[Any, ...]) -> tuple[int, ...]:
    shape: tuple[int, ...] = ()
    for value, argument in zip(values, call.arguments, strict=True):
        joined = broadcast(shape, shape_of(value))
        if joined is None:
            raise EvalError(
                f"shapes {list(shape)} and {list(shape_of(value))} don't broadcast", argument.span, name="bad-shape"
            )
        shape = joined
    return shape


def _tensors(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Numbers among tensors as tensors of the first one's kind."""
    import torch

    like = next(v for v in values if is_tensor(v))
    floating = next((v for v in values if is_tensor(v) and v.is_floating_point()), None)
    dtype = floating.dtype if floating is not None else torch.float32
    return tuple(v if is_tensor(v) else torch.tensor(v, dtype=dtype, device=like.device) for v in values)


def _where(call: Call, env: Environment, c: Any, x: Any, y: Any) -> Any:
    values = _many(call, (c, x, y))
    if not any(is_tensor(v) for v in values):
        return x if c else y
    shape = _common(call, values)
    if any(isinstance(v, Shape) for v in values):
        return Shape(shape)
    import torch

    condition, a, b = _tensors(values)
    return torch.where(condition != 0, _float(a), _float(b))


def _clip(call: Call, env: Environment, x: Any, lo: Any, hi: Any) -> Any:
    values = _many(call, (x, lo, hi))
    if not any(is_tensor(v) for v in values):
        if lo > hi:
            raise EvalError(f"the lower bound {lo:g} is above the upper bound {hi:g}", call.span)
        return min(max(x, lo), hi)
    shape = _common(call, values)
    if any(isinstance(v, Shape) for v in values):
        return Shape(shape)
    import torch

    a, b, c = _tensors(tuple(_float(v) for v in values))
    return torch.minimum(torch.maximum(a, b), c)


def _reduced(call: Call, shape: tuple[int, ...], dim: Any) -> tuple[int, ...]:
    if dim is None:
        return ()
    dims = dim if isinstance(dim, tuple | list) else (dim,)
    out = list(shape)
    for d in dims:
        if not isinstance(d, int) or isinstance(d, bool) or not -len(shape) <= d < len(shape):
            raise EvalError(
                f"`dim` {describe_value(d)} is not a dimension of shape {list(shape)}", call.span, name="bad-index"
            )
        out[d] = 1
    return tuple(out)


def _reduction(name: str) -> Callable[..., Any]:
    def function(call: Call, env: Environment, *values: Any, dim: Any = None) -> Any:
        several = name in ("min", "max") and len(values) > 1
        if dim is not None and (several or (values and isinstance(values[0], tuple | list))):
            raise EvalError("`dim` goes with one tensor", call.span, name="bad-argument")
        if several:
            return _extreme(call, values, name)
        if len(values) != 1:
            raise EvalError(f"`{name}` takes one tensor", call.span)
        x = values[0]
        if isinstance(x, tuple | list):
            if not x or not all(isinstance(v, int | float) for v in x):
                raise EvalError(f"`{name}` needs numbers", call.span)
            try:
                made = _over_numbers(call, name, [float(v) if name not in ("min", "max", "sum") else v for v in x])
            except OverflowError:
                made = math.inf
            return _checked(call, made, x)
        if not is_tensor(x):
            raise EvalError(f"`{name}` needs a tensor, this is {describe_value(x)}", call.span)
        shape = _reduced(call, shape_of(x), dim)
        if isinstance(x, Shape):
            return Shape(shape)
        import torch

        x = _float(x)
        if getattr(env, "steady", False) and name not in ("min", "max") and x.dtype == torch.float32:
            # float32 sums depend on how threads share them; those of float64 don't once they are rounded
            return function(call, env, x.double(), dim=dim).to(torch.float32)
        dims = tuple(dim) if isinstance(dim, list | tuple) else dim
        if name == "min" or name == "max":
            reduce = torch.amin if name == "min" else torch.amax
            return reduce(x) if dims is None else reduce(x, dim=dims, keepdim=True)
        if name == "norm":
            return torch.linalg.vector_norm(x, dim=dims, keepdim=dims is not None)
        return getattr(x, name)() if dims is None else getattr(x, name)(dim=dims, keepdim=True)

    return function


def _over_numbers(call: Call, name: str, values: list[Any]) -> Any:
    match name:
        case "min":
            return min(values)
        case "max":
            return max(values)
        case "sum":
            return sum(values)
        case "mean":
            return math.fsum(values) / len(values)
        case "norm":
            return math.hypot(*values)
    if len(values) < 2:
        raise EvalError("`std` needs at least two numbers", call.span)
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1))


def _extreme(call: Call, values: tuple[Any, ...], name: str) -> Any:
    _many(call, values)
    if not any(is_tensor(v) for v in values):
        return min(values) if name == "min" else max(values)
    shape = _common(call, values)
    if any(isinstance(v, Shape) for v in values):
        return Shape(shape)
    import torch

    first, *rest = _tensors(tuple(_float(v) for v in values))
    for other in rest:
        first = (torch.minimum if name == "min" else torch.maximum)(first, other)
    return first


def _index(call: Call, env: Environment, d: Any) -> Any:
    shape = env.target_shape(call)
    if not isinstance(d, int) or isinstance(d, bool) or not -len(shape) <= d < len(shape):
        raise EvalError(
            f"{describe_value(d)} is not a dimension of shape {list(shape)}", call.arguments[0].span, name="bad-index"
        )
    extent = env.extent(d % len(shape), shape[d])
    dims = [1] * len(shape)
    dims[d] = len(extent)
    made = env.tensor(extent)
    return Shape(tuple(dims)) if isinstance(made, Shape) else made.reshape(dims)


def _linspace(call: Call, env: Environment, a: Any, b: Any, n: Any) -> Any:
    if not isinstance(n, int) or isinstance(n, bool) or not 1 <= n <= 2**28:
        raise EvalError("`linspace` needs a positive integer of steps", call.arguments[2].span)
    if is_tensor(a) or is_tensor(b):
        raise EvalError("the ends of `linspace` are numbers", call.span)
    made = env.tensor(range(n))
    if isinstance(made, Shape):
        return Shape((n,))
    import torch

    return torch.linspace(a, b, n, dtype=made.dtype, device=made.device)


def _round(x: float) -> int:
    return round(x)


def _table(call: Call, env: Environment, x: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The shapes of a table and of the one it is to be: as many dimensions, all but the rows the same."""
    if not is_tensor(x):
        raise EvalError(f"`{call.function}` needs a tensor, this is {describe_value(x)}", call.arguments[0].span)
    return shape_of(x), env.target_shape(call)


def _resize_rows(call: Call, env: Environment, x: Any) -> Any:
    old, new = _table(call, env, x)
    if not old or len(old) != len(new) or old[1:] != new[1:] or not old[0]:
        raise EvalError(
            f"a tensor of shape {list(old)} can't be given the rows of shape {list(new)}: only dimension 0 may differ",
            call.span, name="bad-shape",
        )  # fmt: skip
    if isinstance(x, Shape):
        return Shape(new)
    import torch

    x = _float(x)
    if new[0] <= old[0]:
        return x[: new[0]]
    mean = x.double().mean(dim=0, keepdim=True).to(x.dtype)
    return torch.cat([x, mean.expand(new[0] - old[0], *new[1:])])


INTERPOLATIONS = ("bicubic", "bilinear", "area", "nearest")


def _resize_grid(
    call: Call, env: Environment, x: Any, prefix: Any = 0, mode: Any = "bicubic", antialias: Any = True,
    grid: Any = None, old_grid: Any = None,
) -> Any:  # fmt: skip
    old, new = _table(call, env, x)
    if mode not in INTERPOLATIONS:
        words = ", ".join(f"`{word}`" for word in INTERPOLATIONS)
        raise EvalError(f"`mode` must be one of {words}, got {mode}", call.span, name="bad-argument")
    if isinstance(prefix, bool) or not isinstance(prefix, int) or prefix < 0:
        raise EvalError("`prefix` must be an integer, at least 0", call.span, name="bad-argument")
    if len(old) < 2 or len(old) != len(new) or (*old[:-2], old[-1]) != (*new[:-2], new[-1]):
        raise EvalError(
            f"a tensor of shape {list(old)} can't be given the grid of shape {list(new)}: only the last dimension but one "
            "may differ", call.span, name="bad-shape",
        )  # fmt: skip
    sizes = [
        _grid(call, count - prefix, given, name)
        for count, given, name in ((old[-2], old_grid, "old_grid"), (new[-2], grid, "grid"))
    ]
    if isinstance(x, Shape):
        return Shape(new)
    import torch

    x = _float(x)
    if sizes[0] == sizes[1]:
        return x
    kept, table = x[..., :prefix, :], x[..., prefix:, :]
    images = table.reshape(-1, *sizes[0], old[-1]).permute(0, 3, 1, 2)
    smooth = {"antialias": bool(antialias)} if mode in ("bicubic", "bilinear") else {}
    images = torch.nn.functional.interpolate(images, size=sizes[1], mode=mode, **smooth)
    return torch.cat([kept, images.permute(0, 2, 3, 1).reshape(*new[:-2], -1, new[-1])], dim=-2)


def _grid(call: Call, count: int, given: Any, name: str) -> tuple[int, int]:
    """Rows of a table as the places of a grid: the one given, or a square."""
    if given is None:
        side = math.isqrt(max(0, count))
        if count < 1 or side * side != count:
            hint = f"`prefix=` leaves rows before it out, and `{name}=(h, w)` says another grid"
            raise EvalError(f"{count} rows are no square grid", call.span, hint, "bad-shape")
        return side, side
    sides = given if isinstance(given, tuple | list) else ()
    if len(sides) != 2 or not all(isinstance(n, int) and n > 0 for n in sides) or sides[0] * sides[1] != count:
        raise EvalError(f"`{name}` must be two sizes whose product is {count}", call.span, name="bad-shape")
    return sides[0], sides[1]


def _gain(call: Call, env: Environment, nonlinearity: Any, param: Any = None) -> float:
    if nonlinearity not in NONLINEARITIES:
        words = ", ".join(f"`{word}`" for word in NONLINEARITIES)
        got = f"`{nonlinearity}`" if isinstance(nonlinearity, str) else describe_value(nonlinearity)
        raise EvalError(
            f"`nonlinearity` must be one of {words}, got {got}", call.arguments[0].span, name="bad-argument"
        )
    if param is None:
        return gain(nonlinearity)
    if is_tensor(param) or isinstance(param, bool) or not isinstance(param, int | float):
        raise EvalError(f"`param` must be a number, this is {describe_value(param)}", call.arguments[1].span)
    return gain(nonlinearity, param)


def _base_shape(call: Call, env: Environment, path: Any) -> tuple[int, ...]:
    if not isinstance(path, str):
        hint = "`initdsl manifest --model m:f > base.json` writes one"
        raise EvalError(
            f"`base_shape` needs the path of a manifest, this is {describe_value(path)}",
            call.arguments[0].span,
            hint,
            "bad-argument",
        )
    return env.base_shape(call, path)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "abs": _elementwise(abs, "abs"),
    "sqrt": _elementwise(math.sqrt, "sqrt"),
    "exp": _elementwise(math.exp, "exp"),
    "expm1": _elementwise(math.expm1, "expm1"),
    "log": _elementwise(math.log, "log"),
    "log1p": _elementwise(math.log1p, "log1p"),
    "sin": _elementwise(math.sin, "sin"),
    "cos": _elementwise(math.cos, "cos"),
    "tanh": _elementwise(math.tanh, "tanh"),
    "sign": _elementwise(lambda x: (x > 0) - (x < 0), "sign"),
    "floor": _elementwise(math.floor, "floor"),
    "ceil": _elementwise(math.ceil, "ceil"),
    "round": _elementwise(_round, "round"),
    "clip": _clip,
    "where": _where,
    "min": _reduction("min"),
    "max": _reduction("max"),
    "sum": _reduction("sum"),
    "mean": _reduction("mean"),
    "std": _reduction("std"),
    "norm": _reduction("norm"),
    "index": _index,
    "linspace": _linspace,
    "calculate_gain": _gain,
    "resize_rows": _resize_rows,
    "resize_grid": _resize_grid,
    "base_shape": _base_shape,
}


# handled by the environment: they look at the network
FANS = ("fan_in", "fan_out")


PARAMETERS: dict[str, tuple[str, ...]] = {
    "clip": ("x", "lo", "hi"), "where": ("c", "x", "y"), "linspace": ("a", "b", "n"), "index": ("d",),
    "fan_in": ("x",), "fan_out": ("x",), "base_shape": ("path",), "calculate_gain": ("nonlinearity", "param"),
    "resize_grid": ("x", "prefix", "mode", "antialias", "grid", "old_grid"),
}  # fmt: skip


# of functions that may be called with fewer: how many they need
FEWEST = {"calculate_gain": 1, "resize_grid": 1}


# arguments that are bare words
NONLINEARITIES: tuple[str, ...] = get_args(Nonlinearity)


WORDED = {"calculate_gain": "nonlinearity", "resize_grid": "mode"}


# ---- evaluation


def evaluate(node: nodes.Expr, env: Environment) -> Any:
    """The value of an expression: a number, string, none, tuple, list, tensor (or `Shape`). Raises EvalError."""
    match node:
        case Number():
            return node.value
        case Name():
            return env.name(node)
        case Binary():
            return _binary(node, env)
        case Unary():
            return _unary(node, env)
        case Call():
            return _call(node, env)
        case Word():
            return WORDS[node.word]
        case String():
            return node.value
        case TupleNode():
            return tuple(evaluate(item, env) for item in node.items)
        case ListNode():
            return [evaluate(item, env) for item in node.items]
        case Subscript() | Member():
            path = as_path(node)
            if path is not None:
                return env.path(node, path)
            assert isinstance(node, Subscript)
            return _subscript(node, evaluate(node.base, env), env)
        case Length():
            return env.length(node)
        case Mapping():
            return {key: evaluate(value, env) for key, value in zip(node.keys, node.values, strict=True)}
    raise AssertionError(node)


def as_path(node: nodes.Expr) -> Path | None:
    """`net.a[0].b` as the path of a selector, if the expression is one."""
    steps: list[Any] = []
    current: Any = node
    while isinstance(current, Member | Subscript):
        if isinstance(current, Member):
            steps.append(Step(current.name, (), current.span))
        else:
            steps.append(Index(current.items, (), current.span))
        current = current.base
    if isinstance(current, Name) and current.name == "net":
        return Path("net", tuple(reversed(steps)), None, node.span)
    return None


def _checked(node: Any, value: Any, inputs: Any) -> Any:
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


def _binary(node: Binary, env: Environment) -> Any:
    op = node.operator
    left = evaluate(node.left, env)
    if op in ("and", "or"):
        if not is_tensor(left) and bool(left) is (op == "or"):
            return bool(left)
        right = evaluate(node.right, env)
        return _logical(node, op, left, right) if is_tensor(left) or is_tensor(right) else bool(right)
    right = evaluate(node.right, env)
    if op == "**" and getattr(env, "steady", False) and (is_tensor(left) or is_tensor(right)):
        return _power(node, left, right)
    return combine(node, op, left, right)


def _power(node: Binary, left: Any, right: Any) -> Any:
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
        _number(value, getattr(node, side, node))
    shape = broadcast(shape_of(left), shape_of(right))
    if shape is None:
        raise EvalError(
            f"shapes {list(shape_of(left))} and {list(shape_of(right))} don't broadcast", node.span, name="bad-shape"
        )
    if op in ("/", "//", "%") and not is_tensor(right) and right == 0:
        raise EvalError("division by zero", node.span, name="division-by-zero")
    if isinstance(left, Shape) or isinstance(right, Shape):
        return Shape(shape)
    return OPERATORS[op](_float(left), _float(right))


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
        raise EvalError(f"this is {describe_value(wrong)}, not a number", getattr(node, side, node).span)
    if op in COMPARISONS:
        return OPERATORS[op](left, right)
    if op == "**" and isinstance(left, int) and isinstance(right, int) and right > 0 and abs(left) > 1:
        if right * math.log2(abs(left)) > 64:
            raise EvalError(
                "the result needs more than 64 bits", node.span, "use floats, as in `2.0 ** 100`", "overflow"
            )
    try:
        return _checked(node, OPERATORS[op](left, right), (left, right))
    except ZeroDivisionError:
        raise EvalError("division by zero", node.span, name="division-by-zero") from None
    except OverflowError:
        raise EvalError("the result is not finite", node.span, name="overflow") from None


def _logical(node: Binary, op: str, left: Any, right: Any) -> Any:
    shape = broadcast(shape_of(_number(left, node.left)), shape_of(_number(right, node.right)))
    if shape is None:
        raise EvalError(
            f"shapes {list(shape_of(left))} and {list(shape_of(right))} don't broadcast", node.span, name="bad-shape"
        )
    if isinstance(left, Shape) or isinstance(right, Shape):
        return Shape(shape)
    a, b = left != 0, right != 0
    return (a & b) if op == "and" else (a | b)


def _unary(node: Unary, env: Environment) -> Any:
    value = evaluate(node.operand, env)
    if node.operator == "not":
        if isinstance(value, Shape):
            return value
        return value == 0 if is_tensor(value) else not value
    value = _number(value, node.operand)
    if isinstance(value, Shape):
        return value
    if node.operator == "-":
        return _checked(node, -_float(value), (value,)) if not is_tensor(value) else -_float(value)
    return value


def _call(node: Call, env: Environment) -> Any:
    function = FUNCTIONS.get(node.function)
    if function is None:
        return env.draw(node)
    names = PARAMETERS.get(node.function, ("x",))
    reduction = node.function in ("min", "max", "sum", "mean", "std", "norm")
    args: list[Any] = []
    keywords: dict[str, Any] = {}
    for argument in node.arguments:
        word = WORDED.get(node.function)
        meant = argument.name or (names[len(args)] if len(args) < len(names) else None)
        worded = word is not None and meant == word and isinstance(argument.value, Name)
        value = argument.value.name if worded else evaluate(argument.value, env)  # type: ignore[union-attr]
        if argument.name is None and keywords:
            raise EvalError("a positional argument stands before those by name", argument.span, name="bad-argument")
        if argument.name is None:
            args.append(value)
        elif argument.name not in keywords and (
            argument.name == "dim" if reduction else argument.name in names[len(args) :]
        ):
            keywords[argument.name] = value
        elif argument.name in keywords or argument.name in names[: len(args)]:
            raise EvalError(f"`{argument.name}` is given twice", argument.span, name="bad-argument")
        else:
            allowed = "`dim`" if reduction else ", ".join(f"`{n}`" for n in names)
            raise EvalError(
                f"`{node.function}` has no argument `{argument.name}` here", argument.span, f"it takes {allowed}",
                "unknown-argument",
            )  # fmt: skip
    if not reduction:
        fewest = FEWEST.get(node.function, len(names))
        missing = [name for name in names[:fewest] if name not in names[: len(args)] and name not in keywords]
        if missing or len(args) > len(names):
            count = (
                f"{fewest} {'or' if fewest + 1 == len(names) else 'to'} {len(names)}"
                if fewest < len(names)
                else str(len(names))
            )
            plural = "argument" if count == "1" else "arguments"
            raise EvalError(
                f"`{node.function}` takes {count} {plural}, got {len(args) + len(keywords)}",
                node.span,
                name="bad-argument",
            )
    return function(node, env, *args, **keywords)


def _subscript(node: Subscript, base: Any, env: Environment) -> Any:
    items = tuple(index_item(item, env) for item in node.items)
    return subscript(node, base, items)


def subscript(node: Any, base: Any, items: tuple[Any, ...]) -> Any:
    """Basic indexing of a tensor or a tuple."""
    if isinstance(base, tuple | list):
        if len(items) != 1 or items[0] is ... or items[0] is None:
            raise EvalError("a tuple takes one index", node.span, name="bad-index")
        try:
            found = base[items[0]]
        except IndexError:
            raise EvalError(
                f"index {items[0]} is out of range for a tuple of {len(base)}", node.span, name="bad-index"
            ) from None
        return found
    if not is_tensor(base):
        raise EvalError(f"this is {describe_value(base)} and has no elements", node.span, name="bad-index")
    shape = index_shape(shape_of(base), items, node)
    return Shape(shape) if isinstance(base, Shape) else base[items]


def index_item(item: nodes.Item, env: Environment) -> Any:
    """One item of an index as `int`, `slice`, `...` or `None`."""
    if isinstance(item, Ellipsis):
        return ...
    if isinstance(item, Every):
        raise EvalError(
            "`*` stands in the index of a selector only", item.span, "all of a dimension is `:`", "bad-index"
        )
    if isinstance(item, Slice):
        start, stop, step = (None if part is None else _bound(part, env) for part in (item.start, item.stop, item.step))
        # a step past the end takes the first element; times a stride it must not need more than 64 bits
        return slice(start, stop, step if step is None else min(step, 1 << 31))
    value = evaluate(item, env)
    if value is None:
        return None
    return _integer(value, item)


def _bound(node: nodes.Expr, env: Environment) -> Any:
    value = evaluate(node, env)
    return None if value is None else _integer(value, node)


def _integer(value: Any, node: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        hint = "use `//` to divide" if isinstance(value, float) else None
        raise EvalError(f"an index must be an integer, this is {describe_value(value)}", node.span, hint, "bad-index")
    return value


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
                        node.span, name="bad-index",
                    )  # fmt: skip
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


def torch_tensor(values: Any, dtype: torch.dtype, device: Any) -> torch.Tensor:
    import torch

    if isinstance(values, range):
        return torch.arange(values.start, values.stop, values.step, dtype=dtype, device=device)
    return torch.tensor(values, dtype=dtype, device=device)
