"""The functions that expressions may call."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, get_args

from initdsl.initializers.elsewhere import activation_hint
from initdsl.initializers.fans import Nonlinearity, gain
from initdsl.language.syntax.nodes import Call
from initdsl.text.wording import did_you_mean

from .lists import flat
from .operators import Environment, booleans_as_floats, check_result, require_number
from .shapes import EvalError, Shape, broadcast, describe_value, is_tensor, shape_of

if TYPE_CHECKING:
    import torch

__all__ = ["CHOICES", "FANS", "FEWEST", "FUNCTIONS", "OF_ONE_NUMBER", "PARAMETERS", "WORDED", "torch_tensor"]


def _elementwise(scalar: Callable[[float], Any], method: str) -> Callable[..., Any]:
    def function(call: Call, env: Environment, x: Any) -> Any:
        x = require_number(x, call.arguments[0])
        if isinstance(x, Shape):
            return x
        if is_tensor(x):
            import torch

            return getattr(torch, method)(booleans_as_floats(x))
        try:
            return check_result(call, scalar(x), (x,))
        except (ValueError, OverflowError):
            raise EvalError(f"`{call.function}` of {describe_value(x)} is not a finite number", call.span) from None

    return function


def _many(call: Call, values: tuple[Any, ...]) -> tuple[Any, ...]:
    for value, argument in zip(values, call.arguments, strict=True):
        require_number(value, argument)
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
    return torch.where(condition != 0, booleans_as_floats(a), booleans_as_floats(b))


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

    a, b, c = _tensors(tuple(booleans_as_floats(v) for v in values))
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
            x = flat(x)
            if not x or not all(isinstance(v, int | float) for v in x):
                raise EvalError(f"`{name}` needs numbers", call.span)
            try:
                made = _over_numbers(call, name, [float(v) if name not in ("min", "max", "sum") else v for v in x])
            except OverflowError:
                made = math.inf
            return check_result(call, made, x)
        if not is_tensor(x):
            raise EvalError(f"`{name}` needs a tensor, this is {describe_value(x)}", call.span)
        shape = _reduced(call, shape_of(x), dim)
        if isinstance(x, Shape):
            return Shape(shape)
        return _over_tensor(name, booleans_as_floats(x), dim, env.steady)

    return function


def _over_tensor(name: str, x: torch.Tensor, dim: Any, steady: bool) -> torch.Tensor:
    """Return a reduction of a tensor; where it is to be `steady`, the same bits whatever the number of threads."""
    import torch

    if steady and name not in ("min", "max") and x.dtype == torch.float32:
        # float32 sums depend on how threads share them; those of float64 don't once they are rounded
        return _over_tensor(name, x.double(), dim, steady).to(torch.float32)
    dims = tuple(dim) if isinstance(dim, list | tuple) else dim
    if name == "min" or name == "max":
        reduce = torch.amin if name == "min" else torch.amax
        return reduce(x) if dims is None else reduce(x, dim=dims, keepdim=True)
    value: torch.Tensor
    if name == "norm":
        value = torch.linalg.vector_norm(x, dim=dims, keepdim=dims is not None)
    else:
        value = getattr(x, name)() if dims is None else getattr(x, name)(dim=dims, keepdim=True)
    return value


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

    first, *rest = _tensors(tuple(booleans_as_floats(v) for v in values))
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
            call.span,
            name="bad-shape",
        )
    if isinstance(x, Shape):
        return Shape(new)
    import torch

    x = booleans_as_floats(x)
    if new[0] <= old[0]:
        return x[: new[0]]
    mean = x.double().mean(dim=0, keepdim=True).to(x.dtype)
    return torch.cat([x, mean.expand(new[0] - old[0], *new[1:])])


INTERPOLATIONS = ("bicubic", "bilinear", "area", "nearest")


def _resize_grid(
    call: Call,
    env: Environment,
    x: Any,
    prefix: Any = 0,
    mode: Any = "bicubic",
    antialias: Any = True,
    grid: Any = None,
    old_grid: Any = None,
) -> Any:
    old, new = _table(call, env, x)
    if mode not in INTERPOLATIONS:
        words = ", ".join(f"`{word}`" for word in INTERPOLATIONS)
        raise EvalError(f"`mode` must be one of {words}, got {mode}", call.span, name="bad-argument")
    if isinstance(prefix, bool) or not isinstance(prefix, int) or prefix < 0:
        raise EvalError("`prefix` must be an integer, at least 0", call.span, name="bad-argument")
    if len(old) < 2 or len(old) != len(new) or (*old[:-2], old[-1]) != (*new[:-2], new[-1]):
        raise EvalError(
            f"a tensor of shape {list(old)} can't be given the grid of shape {list(new)}: only the last dimension but one "
            "may differ",
            call.span,
            name="bad-shape",
        )
    sizes = [
        _grid(call, count - prefix, given, name)
        for count, given, name in ((old[-2], old_grid, "old_grid"), (new[-2], grid, "grid"))
    ]
    if isinstance(x, Shape):
        return Shape(new)
    import torch

    x = booleans_as_floats(x)
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
        hint = None
        if isinstance(nonlinearity, str):
            hint = activation_hint(nonlinearity) or did_you_mean(nonlinearity, NONLINEARITIES)
        message = f"`nonlinearity` must be one of {words}, got {got}"
        raise EvalError(message, call.arguments[0].span, hint, "bad-argument")
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


def _given(call: Call, env: Environment, value: Any, other: Any) -> Any:
    """Return a value where there is one, else the other."""
    return other if value is None else value


# functions of one number, or of each element
OF_ONE_NUMBER: dict[str, Callable[..., Any]] = {
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
}


FUNCTIONS: dict[str, Callable[..., Any]] = {
    **OF_ONE_NUMBER,
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
    "given": _given,
}


# handled by the environment: they look at the network
FANS = ("fan_in", "fan_out")


PARAMETERS: dict[str, tuple[str, ...]] = {
    "clip": ("x", "lo", "hi"),
    "where": ("c", "x", "y"),
    "linspace": ("a", "b", "n"),
    "index": ("d",),
    "fan_in": ("x",),
    "fan_out": ("x",),
    "base_shape": ("path",),
    "given": ("path", "other"),
    "calculate_gain": ("nonlinearity", "param"),
    "resize_grid": ("x", "prefix", "mode", "antialias", "grid", "old_grid"),
}


# of functions that may be called with fewer: how many they need
FEWEST = {"calculate_gain": 1, "resize_grid": 1}


# arguments that are bare words
NONLINEARITIES: tuple[str, ...] = get_args(Nonlinearity)


WORDED = {"calculate_gain": "nonlinearity", "resize_grid": "mode"}


# what these words may be
CHOICES: dict[str, tuple[str, ...]] = {"calculate_gain": NONLINEARITIES, "resize_grid": INTERPOLATIONS}


def torch_tensor(values: Any, dtype: torch.dtype, device: Any) -> torch.Tensor:
    import torch

    if isinstance(values, range):
        return torch.arange(values.start, values.stop, values.step, dtype=dtype, device=device)
    return torch.tensor(values, dtype=dtype, device=device)
