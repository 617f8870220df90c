"""Tensors that no rule, or not this one, can write to."""

from __future__ import annotations

from initdsl.language.expressions.shapes import EvalError
from initdsl.language.syntax.nodes import Assign, Call, Keep
from initdsl.network.parts import TensorInfo

from .actions import Clause
from .context import Context

__all__ = ["check_writable"]


# dtypes in which libraries pack weights
PACKED = ("uint8", "int8")


# before the name of a parametrization that can't be written through
NO_RIGHT_INVERSE = "no-right-inverse:"


def check_writable(context: Context, clause: Clause, tensor: TensorInfo) -> None:
    """Raise EvalError where a clause can't write to a tensor; `keep` can be said of any."""
    rule = clause.rule
    assert clause.targets is not None
    span = clause.targets.span
    if isinstance(rule, Keep):
        return
    problem = None if tensor.problem is None else _problem(context, tensor, tensor.problem)
    if problem is not None:
        message, hint, name = problem
        raise EvalError(message, span, hint, name)
    if isinstance(rule, Assign) and _is_packed(tensor) and not _loads(rule):
        message = (
            f"`{tensor.label}` is a parameter of {tensor.dtype}: packed or quantized weights, whose bytes are no values"
        )
        hint = "fill the model before it is quantized; `keep` leaves it, `= load(...)` takes stored ones"
        raise EvalError(message, span, hint, "bad-dtype")
    if tensor.integral and isinstance(rule, Assign) and rule.operator == "~":
        message = f"`{tensor.label}` is {tensor.dtype} and can't be drawn"
        raise EvalError(message, span, "set it with `=`", "bad-dtype")


def _is_packed(tensor: TensorInfo) -> bool:
    """Tell whether a parameter is a layer's weight in bytes: torch trains none of integers."""
    is_weight = any(local.endswith("weight") for _, local in tensor.owners)
    return tensor.kind == "parameter" and tensor.dtype in PACKED and is_weight


def _loads(rule: Assign) -> bool:
    return isinstance(rule.value, Call) and rule.value.function == "load"


def _problem(context: Context, tensor: TensorInfo, problem: str) -> tuple[str, str | None, str] | None:
    """Return message, hint and name of a finding; None for a problem that does not concern rules."""
    name = f"`{tensor.label}`"
    if problem.startswith(NO_RIGHT_INVERSE):
        owner, local = tensor.owners[0]
        original = f"{context.network.modules[owner].label}.parametrizations.{local}.original"
        parametrization = problem.removeprefix(NO_RIGHT_INVERSE)
        message = f"{name} is computed by the parametrization `{parametrization}`, which has no `right_inverse`"
        return message, f"write to what it is computed from: `{original}`", "no-right-inverse"
    problems = {
        "lazy": (f"{name} has no shape yet: its module is lazy", "run a forward pass first", "lazy-parameter"),
        "quantized": (f"{name} is quantized ({tensor.dtype}) and can't be filled", None, "bad-dtype"),
        "sparse": (f"{name} is sparse and can't be filled", None, "bad-dtype"),
        "computed-from-shards": (
            f"{name} is computed from parameters that are sharded",
            "write to those, or apply these rules before sharding",
            "needs-shards",
        ),
    }
    return problems.get(problem)
