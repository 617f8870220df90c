"""What one piece of a tensor gets from a right-hand side, checked to the last argument: dtype, range, shape and fans."""

from __future__ import annotations

import math
from typing import Any

from initdsl.initializers import ArgumentError, Arguments, Constant, Distribution, Initializer, Uniform
from initdsl.language.expressions.evaluate import evaluate
from initdsl.language.expressions.shapes import EvalError, Shape, broadcast, describe_value, nested_shape
from initdsl.language.syntax.nodes import Assign, Call
from initdsl.network.parts import TensorInfo

from .actions import Draw, Expression, Load, Payload, Value
from .calls import bind_call, check_shape
from .complex_numbers import COMPLEX, check_parts, real_only
from .loads import all_but, find_tensor
from .lookups import Site
from .names import Names
from .right_hand_side import RightHandSide, blamed_in_rule

__all__ = ["payload_of"]


# the largest number of a dtype of floats; those of others are past a Python float's, or all but
LARGEST = {
    "float8_e4m3fn": 448.0,
    "float8_e4m3fnuz": 240.0,
    "float8_e5m2": 57344.0,
    "float8_e5m2fnuz": 57344.0,
    "float16": 65504.0,
    "bfloat16": 3.3895313892515355e38,
    "float32": 3.4028234663852886e38,
    "complex32": 65504.0,
    "complex64": 3.4028234663852886e38,
}


def payload_of(site: Site, rule: Assign, side: RightHandSide, tensor: TensorInfo) -> Payload | None:
    """Return what the piece at a site gets; None where the rule leaves it to others.

    Raises EvalError for what can't be right.
    """
    env = Names(site)
    assert site.shape is not None
    call = side.call
    try:
        if call is not None and call.function == "load" and rule.operator == "=":
            return _loaded(site, call, env)
        if call is not None and rule.operator in ("=", "~"):
            return _called(call, env, rule, side, tensor)
        value = evaluate(side.expr, env)
    except EvalError as error:
        raise blamed_in_rule(error, rule) from None
    if isinstance(value, bool | int | float):
        return _number(rule, side, tensor, value)
    if isinstance(value, list):
        _check_fits(rule, nested_shape(value, side.expr), site.shape)
        if tensor.integral:
            _check_integers(rule, tensor, value)
        return Expression(env.program(value), side.finite)
    if isinstance(value, Shape):
        _check_fits(rule, value.dims, site.shape)
        program = env.program(value)
        check_parts(program, site, tensor, side.expr)
        return Expression(program, side.finite, env.reads, env.reads_itself)
    message = f"a parameter can't be set to {describe_value(value)}"
    hint = "a vector is written as a list: `[1, 2]`" if isinstance(value, tuple) else None
    raise EvalError(message, rule.value.span, hint, name="bad-argument")


# ---- numbers


def _number(rule: Assign, side: RightHandSide, tensor: TensorInfo, value: float) -> Payload:
    span = rule.value.span
    if side.finite and not math.isfinite(value):
        raise EvalError("the result is not finite", span, "where that is meant, write `inf` or `nan`", "overflow")
    if rule.operator == "/=" and value == 0:
        raise EvalError("division by zero", span, name="division-by-zero")
    if tensor.integral:
        if rule.operator == "/=":
            raise EvalError(f"`{tensor.label}` is {tensor.dtype} and can't be divided", span, name="bad-dtype")
        _check_integers(rule, tensor, value)
    elif math.isfinite(value) and abs(value) > LARGEST.get(tensor.dtype, math.inf):
        raise EvalError(f"{value:g} is too large for {tensor.dtype}", span, name="overflow")
    return Value(value)


def _check_integers(rule: Assign, tensor: TensorInfo, value: Any) -> None:
    """Raise EvalError where an integer tensor can't hold a number, or one in nested lists."""
    if isinstance(value, list):
        for item in value:
            _check_integers(rule, tensor, item)
        return
    low, high = _integers(tensor.dtype)
    if not (isinstance(value, int) or value.is_integer()) or not low <= value <= high:
        message = f"`{tensor.label}` is {tensor.dtype} and can't hold {value:g}"
        raise EvalError(message, rule.value.span, name="bad-dtype")


def _integers(dtype: str) -> tuple[int, int]:
    """Return the least and the largest number an integer dtype holds."""
    if dtype == "bool":
        return 0, 1
    bits = int("".join(c for c in dtype if c.isdigit()) or 64)
    return (0, 2**bits - 1) if dtype.startswith("uint") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def _check_fits(rule: Assign, value: tuple[int, ...], shape: tuple[int, ...]) -> None:
    if broadcast(value, shape) != shape:
        message = f"a value of shape {list(value)} doesn't fit a tensor of shape {list(shape)}"
        raise EvalError(message, rule.value.span, name="bad-shape")


# ---- calls of initializers


def _called(call: Call, env: Names, rule: Assign, side: RightHandSide, tensor: TensorInfo) -> Payload:
    """Return what an initializer fills the piece with. Raises EvalError for arguments that can't be right."""
    shape = env.target_shape(call)
    bound = side.bound if side.bound is not None else bind_call(call, env.site.context.registry, env)
    initializer, arguments, operands = bound
    if initializer.adjust is not None:
        _check_adjusting(call, env)
    if env.needs_tensors:  # an argument is read off tensors
        check_shape(call, initializer, shape, arguments)
        value = env.note_drawn(call, initializer, operands or arguments)
        program = env.program(value, direct=True)
        check_parts(program, env.site, tensor, call)
        return Expression(program, side.finite, env.reads, env.reads_itself)
    if not initializer.elementwise:
        if math.prod(shape):
            check_shape(call, initializer, shape, arguments)
        if tensor.complex and initializer.real_only:
            raise real_only(initializer.name, tensor, call)
        return Draw(initializer, arguments)
    if not math.prod(shape):
        return Constant(0.0)
    distribution = _distribution(call, initializer, arguments, shape, tensor.dtype)
    if tensor.complex and not isinstance(distribution, COMPLEX):
        raise real_only(initializer.name, tensor, call)
    if isinstance(distribution, Constant) and tensor.integral:
        _check_integers(rule, tensor, distribution.value)
    return distribution


def _check_adjusting(call: Call, env: Names) -> None:
    """Raise EvalError where an initializer that goes by a forward pass fills a piece, or has arguments read off tensors."""
    match = env.site.match
    if match.index is not None or match.view is not None:
        message = f"`{call.function}` looks at a layer's output, and takes whole parameters"
        raise EvalError(message, call.span, name="bad-index")
    if env.needs_tensors:
        message = f"an argument of `{call.function}` is read off tensors, and must be a number"
        raise EvalError(message, call.span, name="bad-argument")


def _distribution(
    call: Call, initializer: Initializer, arguments: Arguments, shape: tuple[int, ...], dtype: str
) -> Distribution:
    try:
        distribution = initializer.distribution(shape, arguments)
    except ArgumentError as error:
        raise EvalError(str(error), call.span, error.hint, error.name) from None
    spread = distribution.high - distribution.low if isinstance(distribution, Uniform) else distribution.std
    if max(abs(distribution.mean), spread) > LARGEST.get(dtype, math.inf):
        raise EvalError(f"`{distribution}` draws values too large for {dtype}", call.span, name="overflow")
    return distribution


# ---- tensors of files


def _loaded(site: Site, call: Call, env: Names) -> Load | None:
    """Return the tensor of a file that a piece is set to; None where the rule leaves it to others."""
    assert site.shape is not None
    load = find_tensor(site, call, env, alone=True)
    if load is not None and load.shape != site.shape:
        message = f"`{load.key}` has shape {list(load.shape)}, the target {list(site.shape)}"
        raise EvalError(message, call.span, _other_shape(load.shape, site), "bad-shape")
    return load


def _other_shape(stored: tuple[int, ...], site: Site) -> str | None:
    """Return what to write where a file has a tensor in another shape."""
    match, shape = site.match, site.shape
    assert shape is not None
    if match.index is not None or match.view is not None:
        return None
    if match.scope:
        return "`mismatch=skip` leaves to other rules what has another shape" + all_but(site)
    if (
        isinstance(site.context.network.modules[match.module].attribute("out_features"), int)
        and stored[1:] == shape[1:]
    ):
        return "a head for other classes is drawn anew, without this rule; of a vocabulary that grew, `resize_rows(load(...))`"
    if len(stored) != len(shape) or stored[-1:] != shape[-1:] or len(shape) not in (2, 3):
        return None
    return "`resize_rows(load(...))` or `resize_grid(load(...))` makes its rows fit"
