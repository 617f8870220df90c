"""The expression language: evaluated over numbers and over tensors, and over shapes alone while a plan is made.

One evaluator serves both: `Shape` stands for a tensor whose values are not looked at. Every expression ends: there are
no loops, numbers are floats or 64-bit integers, and the tree's depth is bounded by the loader.
"""

from __future__ import annotations

import math
from typing import Any

from initdsl.language.syntax import nodes
from initdsl.language.syntax.nodes import (
    Argument,
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

from .functions import FEWEST, FUNCTIONS, OF_ONE_NUMBER, PARAMETERS, WORDED
from .lists import element_by_element
from .operators import (
    OPERATORS,
    Environment,
    Surroundings,
    booleans_as_floats,
    check_result,
    combine,
    logical,
    power,
    require_number,
)
from .shapes import EvalError, NotThere, Shape, describe_value, index_shape, is_tensor, nested_shape, shape_of

__all__ = ["apply", "as_path", "element", "evaluate", "index_item", "subscript"]


WORDS = {"true": True, "false": False, "none": None, "inf": math.inf, "nan": math.nan, "pi": math.pi}


# ---- evaluation


def evaluate(node: nodes.Expr, env: Environment) -> Any:  # noqa: C901  one case a kind of node
    """Return the value of an expression: a number, string, none, tuple, list, tensor (or `Shape`). Raises EvalError."""
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
            if isinstance(node, Member):  # the parser says so; the linter looks at what it read around that
                message = f"`.{node.name}` is no attribute of a value: values have none"
                raise EvalError(message, node.span, "a path starts with `net`", "no-attributes")
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


def _binary(node: Binary, env: Environment) -> Any:
    op = node.operator
    left = evaluate(node.left, env)
    if op in ("and", "or"):
        if not _has_elements(left) and bool(left) is (op == "or"):
            return bool(left)
        right = evaluate(node.right, env)
        if not _has_elements(left) and not _has_elements(right):
            return bool(right)
    else:
        right = evaluate(node.right, env)
    return _noted(node, env, op, (left, right))


def _unary(node: Unary, env: Environment) -> Any:
    value = evaluate(node.operand, env)
    if node.operator == "not":
        return _noted(node, env, "not", (value,)) if _has_elements(value) else not value
    if not isinstance(value, list):
        value = require_number(value, node.operand)
    if node.operator != "-":
        return value
    return _noted(node, env, "negative", (value,))


def _has_elements(value: Any) -> bool:
    return isinstance(value, list) or is_tensor(value)


def apply(node: Any, env: Surroundings, function: str, operands: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
    """The value of one operator or function. Raises EvalError at `node`.

    Among tensors a list is one of them; lists and numbers alone give a list.
    """
    if any(isinstance(operand, list | tuple) for operand in operands) and _is_elementwise(function, operands):
        if any(is_tensor(operand) for operand in operands):
            operands = tuple(_as_tensor(node, operand, operands, env) for operand in operands)
        elif any(isinstance(operand, list) for operand in operands):
            return element_by_element(node, lambda *numbers: apply(node, env, function, numbers, keywords), operands)
    match function:
        case "and" | "or":
            return logical(node, function, *operands)
        case "not":
            return operands[0] if isinstance(operands[0], Shape) else operands[0] == 0
        case "negative":
            return _negative(node, operands[0])
        case "**" if env.steady and any(is_tensor(operand) for operand in operands):
            return power(node, *operands)
        case _ if function in OPERATORS:
            return combine(node, function, *operands)
    return FUNCTIONS[function](node, env, *operands, **keywords)


# functions of each element; `min` and `max` are where they are given several
ELEMENTWISE = frozenset([*OPERATORS, *OF_ONE_NUMBER, "and", "or", "not", "negative", "clip", "where"])


def _is_elementwise(function: str, operands: tuple[Any, ...]) -> bool:
    if function in ("==", "!="):  # of lists and tuples as a whole, as `shape == (3, 4)`
        return any(is_tensor(operand) for operand in operands)
    return function in ELEMENTWISE or (function in ("min", "max") and len(operands) > 1)


def _as_tensor(node: Any, operand: Any, operands: tuple[Any, ...], env: Surroundings) -> Any:
    """Return a list among tensors as a tensor; programs have lists as tuples, which no expression has there."""
    lists = list if any(isinstance(each, Shape) for each in operands) else list | tuple
    if not isinstance(operand, lists):
        return operand
    if isinstance(operand, list):
        nested_shape(operand, node)
    return env.tensor(operand)


def _negative(node: Any, value: Any) -> Any:
    if isinstance(value, Shape):
        return value
    return -booleans_as_floats(value) if is_tensor(value) else check_result(node, -value, (value,))


def _noted(
    node: nodes.Expr,
    env: Environment,
    function: str,
    operands: tuple[Any, ...],
    keywords: dict[str, Any] | None = None,
) -> Any:
    """The value of an operator or a function; where that is a tensor of which only the shape is known, `env` notes it."""
    value = apply(node, env, function, operands, keywords or {})
    return env.note(node, function, operands, keywords or {}, value) if isinstance(value, Shape) else value


REDUCTIONS = frozenset(["min", "max", "sum", "mean", "std", "norm"])


def _call(node: Call, env: Environment) -> Any:
    if node.function not in FUNCTIONS:
        return env.draw(node)
    names = PARAMETERS.get(node.function, ("x",))
    args: list[Any] = []
    keywords: dict[str, Any] = {}
    for argument in node.arguments:
        position = len(args)
        value = _argument_value(node, argument, names[position] if position < len(names) else None, env)
        if argument.name is not None:
            _check_keyword(node, argument, argument.name, names, position, keywords)
            keywords[argument.name] = value
        elif keywords:
            raise EvalError("a positional argument stands before those by name", argument.span, name="bad-argument")
        else:
            args.append(value)
    if node.function not in REDUCTIONS:
        _check_count(node, names, len(args), keywords)
    return _noted(node, env, node.function, tuple(args), keywords)


def _argument_value(node: Call, argument: Argument, by_place: str | None, env: Environment) -> Any:
    """Return the value of an argument; of a bare word, where the function takes one, the word."""
    word = WORDED.get(node.function)
    if word is not None and (argument.name or by_place) == word and isinstance(argument.value, Name):
        return argument.value.name
    if node.function == "given" and (argument.name or by_place) == "path":
        return _if_there(argument.value, env)
    return evaluate(argument.value, env)


def _if_there(node: nodes.Expr, env: Environment) -> Any:
    """Return what a path leads to, or None where there is nothing."""
    if as_path(node) is None:
        raise EvalError(
            "`given` looks for what a path from `net` leads to", node.span, "`net.config.initializer_range`"
        )
    try:
        return evaluate(node, env)
    except NotThere:
        return None


def _check_keyword(
    node: Call, argument: Argument, name: str, names: tuple[str, ...], position: int, given: dict[str, Any]
) -> None:
    """Raise EvalError for an argument by name that the function doesn't take, or that is given twice."""
    reduces = node.function in REDUCTIONS
    if name not in given and (name == "dim" if reduces else name in names[position:]):
        return
    if name in given or name in names[:position]:
        raise EvalError(f"`{name}` is given twice", argument.span, name="bad-argument")
    allowed = "`dim`" if reduces else ", ".join(f"`{n}`" for n in names)
    message = f"`{node.function}` has no argument `{name}` here"
    raise EvalError(message, argument.span, f"it takes {allowed}", "unknown-argument")


def _check_count(node: Call, names: tuple[str, ...], positional: int, keywords: dict[str, Any]) -> None:
    """Raise EvalError for too few or too many arguments."""
    fewest = FEWEST.get(node.function, len(names))
    missing = [name for name in names[:fewest] if name not in names[:positional] and name not in keywords]
    if missing or positional > len(names):
        count = str(len(names))
        if fewest < len(names):
            count = f"{fewest} {'or' if fewest + 1 == len(names) else 'to'} {count}"
        plural = "argument" if count == "1" else "arguments"
        message = f"`{node.function}` takes {count} {plural}, got {positional + len(keywords)}"
        raise EvalError(message, node.span, name="bad-argument")


def _subscript(node: Subscript, base: Any, env: Environment) -> Any:
    return element(node, env, base, tuple(index_item(item, env) for item in node.items))


def element(node: nodes.Expr, env: Environment, base: Any, items: tuple[Any, ...]) -> Any:
    """A part of a tensor or tuple; where only the shape of the tensor is known, `env` notes it."""
    value = subscript(node, base, items)
    return env.note_element(node, base, items, value.dims) if isinstance(base, Shape) else value


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
