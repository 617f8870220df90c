"""What can be known of an expression from the text alone: constants folded, calls bound to their initializers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from initdsl.initializers import (
    ArgumentError,
    Constant,
    Distribution,
    Initializer,
    completed,
    default_registry,
    parameters_of,
)
from initdsl.initializers import bind as checked_arguments
from initdsl.language.expressions.evaluate import evaluate
from initdsl.language.expressions.functions import FANS, FUNCTIONS
from initdsl.language.expressions.shapes import EvalError
from initdsl.language.rules.loader import parse
from initdsl.language.syntax.nodes import (
    Argument,
    Assign,
    Call,
    Expr,
    Length,
    Let,
    Name,
    Node,
    Number,
    Path,
    String,
    Unary,
    Word,
)
from initdsl.language.syntax.walk import walk
from initdsl.text.diagnostic import ParseError

from .statements import Placed

__all__ = [
    "UNKNOWN",
    "BoundCall",
    "bind",
    "calls_of",
    "constant",
    "distribution_of",
    "drawn_calls",
    "is_function",
    "literal_number",
    "literals",
    "number",
    "number_of_text",
    "number_set",
]


# how many `let` names one may lead to another while a constant is folded
DEEPEST = 32


class Unknown(Exception):
    """The value depends on the model, or on who calls."""


class _Unknown:
    def __repr__(self) -> str:
        return "UNKNOWN"


# equal to no value, so that `constant(...) == 0` is false for it
UNKNOWN: Final = _Unknown()


@dataclass(frozen=True, slots=True)
class _Text:
    """The environment of an expression without a model: `let` names, and what the caller gives in `names`."""

    placed: Placed | None
    names: Mapping[str, object]
    depth: int = 0  # how many `let` names led here
    steady: ClassVar[bool] = False

    def name(self, node: Name) -> Any:
        if node.name in self.names:
            return self.names[node.name]
        let = None if self.placed is None else self.placed.lookup(node.name)
        if let is None or self.depth >= DEEPEST:
            raise Unknown
        return evaluate(let.value, _Text(self.placed, self.names, self.depth + 1))

    def path(self, node: Expr, path: Path) -> Any:
        raise Unknown

    def draw(self, node: Call) -> Any:
        raise Unknown

    def length(self, node: Length) -> int:
        raise Unknown

    def target_shape(self, node: Expr) -> tuple[int, ...]:
        raise Unknown

    def base_shape(self, node: Call, path: Any) -> tuple[int, ...]:
        raise Unknown

    def extent(self, d: int, size: int) -> range:
        raise Unknown

    def tensor(self, values: Any) -> Any:
        raise Unknown

    def note(self, node: Expr, function: str, operands: Any, keywords: Any, value: Any) -> Any:
        raise Unknown

    def note_element(self, node: Expr, base: Any, items: Any, dims: Any) -> Any:
        raise Unknown


# ---- numbers


def constant(expr: Expr, placed: Placed, **names: object) -> object:
    """Return the value of an expression, or UNKNOWN. `names` gives names a value for the sake of argument.

    Raises EvalError where the expression can't be right.
    """
    try:
        return evaluate(expr, _Text(placed, names))
    except (Unknown, RecursionError):
        return UNKNOWN


def number_of_text(text: str) -> float | None:
    """Return what a text comes to that is an expression of numbers alone, as `1/64`; None for any other.

    Raises EvalError where it can't be right, as `1/0`.
    """
    try:
        statements = parse(f"let value = {text}").rules
    except ParseError:
        return None
    if len(statements) != 1 or not isinstance(statements[0], Let):
        return None
    try:
        return _as_number(evaluate(statements[0].value, _Text(None, {})))
    except (Unknown, RecursionError):
        return None


def number(expr: Expr, placed: Placed) -> float | None:
    """Return the value of an expression where it is a number known from the text."""
    try:
        return _as_number(constant(expr, placed))
    except EvalError:
        return None


def _as_number(value: object) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def literal_number(expr: Expr) -> float | None:
    """Return the value of a number as it is written, its sign included; `None` for any other expression.

    `-0.04` is `Unary("-", Number(0.04))`.
    """
    if isinstance(expr, Unary) and isinstance(expr.operand, Number) and expr.operator != "not":
        return -expr.operand.value if expr.operator == "-" else expr.operand.value
    return expr.value if isinstance(expr, Number) else None


def literals(node: Node) -> Iterator[tuple[Expr, float]]:
    """Yield every number written in a node, with its value: of `normal(0, -0.04)` `0` and `-0.04`."""
    signed: set[int] = set()  # where numbers begin that stand behind a sign
    for part in walk(node):
        value = literal_number(part)
        if value is None or part.span.start in signed:
            continue
        if isinstance(part, Unary):
            signed.add(part.operand.span.start)
        yield part, value


def number_set(placed: Placed) -> float | None:
    """Return the one number that `S = value` or `S ~ constant()` writes everywhere, where the text tells it."""
    rule = placed.rule
    if not isinstance(rule, Assign) or rule.operator not in ("=", "~"):
        return None
    if isinstance(rule.value, Call) and not is_function(rule.value.function):
        call = bind(rule.value, placed)
        distribution = None if call is None else distribution_of(call)
        return distribution.value if isinstance(distribution, Constant) else None
    return None if rule.operator == "~" or calls_of(rule.value) else number(rule.value, placed)


# ---- calls


def is_function(name: str) -> bool:
    """Tell whether a called name is a function of the language, such as `sqrt`."""
    return name in FUNCTIONS or name in FANS


def calls_of(node: Node) -> list[Call]:
    """Return the calls in a node that are none of a function of the language: of initializers, known or not, and `load`."""
    return [part for part in walk(node) if isinstance(part, Call) and not is_function(part.function)]


@dataclass(frozen=True, slots=True)
class BoundCall:
    """A call of an initializer, such as `normal(0, std)`.

    `written` are its arguments by parameter, here those of `mean` and `std`. `values` are the values of parameters that
    the text tells, defaults included: `{"mean": 0.0}`, and the one of `std` below `let std = 0.02`. `error` says why the
    arguments can't be right.
    """

    call: Call
    initializer: Initializer
    written: Mapping[str, Argument]
    values: Mapping[str, object]
    error: ArgumentError | None = None

    def get(self, parameter: str) -> object:
        """Return the value of a parameter, or UNKNOWN."""
        return self.values.get(parameter, UNKNOWN)

    def number(self, parameter: str) -> float | None:
        """Return the value of a parameter where it is a number that the text tells."""
        return _as_number(self.get(parameter))


def bind(call: Call, placed: Placed) -> BoundCall | None:
    """Return a call bound to the initializer it names; `None` where it names none."""
    initializer = default_registry().loaded(call.function)
    if initializer is None or is_function(call.function):
        return None
    keywords = [argument.name for argument in call.arguments if argument.name is not None]
    try:
        names = parameters_of(initializer, len(call.arguments) - len(keywords), keywords)
    except ArgumentError as error:
        return BoundCall(call, initializer, {}, {}, error)
    written = dict(zip(names, call.arguments, strict=True))
    told: dict[str, object] = {}
    for name, argument in written.items():
        value = _argument(argument.value, name, initializer, placed)
        if value is not UNKNOWN:
            told[name] = value
    try:
        return BoundCall(call, initializer, written, _completed(initializer, written, told))
    except ArgumentError as error:
        return BoundCall(call, initializer, written, {}, error)


def drawn_calls(statements: Iterable[Placed]) -> Iterator[tuple[Placed, Assign, BoundCall]]:
    """Yield the statements `S ~ call(...)` whose call names an initializer, each as the assignment it is, with the call."""
    for placed in statements:
        rule = placed.rule
        if isinstance(rule, Assign) and rule.operator == "~" and isinstance(rule.value, Call):
            call = bind(rule.value, placed)
            if call is not None:
                yield placed, rule, call


def _completed(
    initializer: Initializer, written: Mapping[str, Argument], told: dict[str, object]
) -> Mapping[str, object]:
    """Return the values of parameters with the defaults of those that are not written. Raises ArgumentError."""
    unwritten = [p for p in initializer.parameters if p.required and p.name not in written]
    if len(told) == len(written) or unwritten:
        return checked_arguments(initializer, told)
    if any(parameter.required and parameter.name not in told for parameter in initializer.parameters):
        return told
    values = completed(initializer, told)
    return {name: value for name, value in values.items() if name in told or name not in written}


def _argument(value: Expr, parameter_name: str, initializer: Initializer, placed: Placed) -> object:
    parameter = initializer.parameter(parameter_name)
    if isinstance(value, Name) and parameter is not None and parameter.choices:
        return value.name if placed.lookup(value.name) is None else UNKNOWN
    if isinstance(value, String | Word):
        return constant(value, placed)
    try:
        return constant(value, placed)
    except EvalError:
        return UNKNOWN


def distribution_of(call: BoundCall) -> Distribution | None:
    """Return what an element-wise initializer draws, where that depends on its arguments alone and the text tells them."""
    initializer = call.initializer
    is_complete = call.error is None and len(call.values) == len(initializer.parameters)
    if not is_complete or not initializer.elementwise or initializer.min_ndim:
        return None
    try:
        return initializer.distribution((1,), call.values)
    except (ArgumentError, ValueError, ZeroDivisionError, OverflowError):
        return None
