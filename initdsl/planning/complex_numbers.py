"""Expressions with complex tensors: what is complex in them, and what has no complex form."""

from __future__ import annotations

from initdsl.initializers import Arguments, Constant, Normal, Uniform
from initdsl.language.expressions.shapes import EvalError
from initdsl.language.syntax.nodes import Expr
from initdsl.network.parts import TensorInfo

from .lookups import Site
from .program import Apply, Drawn, Element, Operand, Program, Read, Ref, Target

__all__ = ["COMPLEX", "check_parts", "real_only"]


# what a complex tensor is drawn from: both parts, as torch draws them
COMPLEX = (Constant, Normal, Uniform)


# functions that take complex numbers, and those of them that give real ones
TAKE_COMPLEX = frozenset(
    ["+", "-", "*", "/", "negative", "exp", "log", "sqrt", "sin", "cos", "abs", "==", "!=", "where"]
)
GIVE_REAL = frozenset(["abs", "==", "!="])


def real_only(name: str, tensor: TensorInfo, node: Expr) -> EvalError:
    """Return the error that an initializer fills real tensors only."""
    message = f"`{tensor.label}` is {tensor.dtype}, and `{name}` fills real tensors only"
    hint = "`normal`, `uniform`, `xavier_*` and `kaiming_*` draw both parts, as torch does"
    return EvalError(message, node.span, hint, "bad-dtype")


def check_parts(program: Program, site: Site, tensor: TensorInfo, node: Expr) -> None:
    """Raise EvalError where an expression does with complex numbers what only real ones allow, or sets a real tensor to them."""
    tensors = site.context.network.tensors
    if not tensor.complex and not any(isinstance(s, Read) and tensors[s.tensor].complex for s in program.steps):
        return
    parts: list[bool] = []
    for step in program.steps:
        match step:
            case Read(number):
                parts.append(tensors[number].complex)
            case Target():
                parts.append(tensor.complex)
            case Drawn():
                parts.append(_drawn(step, site, tensor, node))
            case Element():
                parts.append(parts[step.base.step])
            case Apply():
                parts.append(_applied(step, parts))
            case _:
                parts.append(False)
    if _is_complex(program.result, parts) and not tensor.complex:
        message = f"`{tensor.label}` is {tensor.dtype} and can't hold complex numbers"
        raise EvalError(message, node.span, "`abs(...)` of them is real", "bad-dtype")


def _drawn(step: Drawn, site: Site, tensor: TensorInfo, node: Expr) -> bool:
    initializer = step.initializer
    if not tensor.complex or not initializer.draws:
        return False
    if initializer.elementwise and site.shape is not None and step.is_bound:
        fits = isinstance(initializer.distribution(site.shape, Arguments(step.arguments)), COMPLEX)
    else:
        fits = not initializer.real_only
    if not fits:
        raise real_only(initializer.name, tensor, node)
    return True


def _applied(step: Apply, parts: list[bool]) -> bool:
    """Return whether an operator or function gives complex numbers. Raises EvalError where it takes none."""
    operands = (*step.operands, *(value for _, value in step.keywords))
    if not any(_is_complex(operand, parts) for operand in operands):
        return False
    if step.function not in TAKE_COMPLEX:
        what = "this" if step.function == "negative" else f"`{step.function}`"
        raise EvalError(f"{what} takes real numbers, and these are complex", step.node.span, name="bad-dtype")
    return step.function not in GIVE_REAL


def _is_complex(operand: Operand, parts: list[bool]) -> bool:
    return isinstance(operand, Ref) and parts[operand.step]
