"""What can be known of an expression from the text alone: constants folded, calls bound to their initializers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from initdsl.initializers import (
    ArgumentError,
    Constant,
    Distribution,
    Initializer,
    argument_model,
    bind,
    default_registry,
    parameters_of,
)
from initdsl.language.expressions.evaluate import evaluate
from initdsl.language.expressions.functions import FANS, FUNCTIONS
from initdsl.language.expressions.shapes import EvalError
from initdsl.language.syntax.nodes import Argument, Assign, Call, Expr, Length, Name, Path, String, Word
from initdsl.language.syntax.walk import walk

from .file import File, Placed

__all__ = ["UNKNOWN", "Bound", "bound", "bound_calls", "constant", "drawn", "is_function", "number", "set_to"]


# how many `let` names one may lead to another while a constant is folded
DEEPEST = 32


class Unknown(Exception):
    """The value depends on the network, or on who calls."""


class _Unknown:
    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN: Any = _Unknown()


@dataclass(frozen=True, slots=True)
class _Text:
    """Names as the text alone gives them: `let` names, and those bound by hand in `names`."""

    placed: Placed
    names: dict[str, Any]
    depth: int = 0
    steady = False

    def name(self, node: Name) -> Any:
        if node.name in self.names:
            return self.names[node.name]
        found = self.placed.lookup(node.name)
        if found is None or self.depth >= DEEPEST:
            raise Unknown
        return evaluate(found.value, _Text(self.placed, self.names, self.depth + 1))

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


def constant(expr: Expr, placed: Placed, **names: Any) -> Any:
    """The value of an expression, or UNKNOWN. `names` gives names a value for the sake of argument.

    An EvalError passes: the expression can't be right.
    """
    try:
        return evaluate(expr, _Text(placed, names))
    except (Unknown, RecursionError):
        return UNKNOWN


def number(expr: Expr, placed: Placed) -> float | None:
    """The value of an expression where it is a number known from the text."""
    try:
        value = constant(expr, placed)
    except EvalError:
        return None
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


@dataclass(frozen=True)
class Bound:
    """A call of an initializer: its arguments by parameter, completed with defaults, or why they can't be right.

    `known` are the parameters whose value the text tells; `given` those that were written.
    """

    call: Call
    initializer: Initializer
    arguments: dict[str, Any]
    known: frozenset[str]
    given: dict[str, Argument]
    error: ArgumentError | None = None

    def get(self, name: str) -> Any:
        """A parameter's value, or UNKNOWN."""
        return self.arguments.get(name, UNKNOWN) if name in self.known else UNKNOWN

    @property
    def complete(self) -> bool:
        return self.error is None and len(self.known) == len(self.initializer.parameters)


def is_function(name: str) -> bool:
    """Whether a called name is a function of the language."""
    return name in FUNCTIONS or name in FANS


def bound(call: Call, placed: Placed) -> Bound | None:
    """A call bound to the initializer it names; `None` where it names none."""
    initializer = default_registry().get(call.function)
    if initializer is None or is_function(call.function):
        return None
    arguments = call.arguments
    keywords = [a.name for a in arguments if a.name is not None]
    positional = len(arguments) - len(keywords)
    given: dict[str, Argument] = {}
    try:
        names = parameters_of(initializer, positional, keywords)
        given = dict(zip(names, arguments, strict=True))
        values = {name: _argument(argument, name, initializer, placed) for name, argument in given.items()}
        known = {name: value for name, value in values.items() if value is not UNKNOWN}
        missing = [p for p in initializer.parameters if p.required and p.name not in given]
        if len(known) == len(given) or missing:
            complete = bind(initializer, known)
            return Bound(call, initializer, complete, frozenset(complete), given)
        # what is unknown stays at its default, or is left out, while the rest is looked at
        probe = {p.name: known[p.name] for p in initializer.parameters if p.name in known}
        if any(p.required and p.name not in probe for p in initializer.parameters):
            return Bound(call, initializer, known, frozenset(known), given)
        filled = argument_model(initializer).model_validate(probe).model_dump()
        certain = frozenset(filled) - (set(given) - set(known))
        return Bound(call, initializer, filled, certain, given)
    except ArgumentError as error:
        return Bound(call, initializer, {}, frozenset(), given, error)
    except ValueError:
        return _explained(call, initializer, known, given)


def _explained(call: Call, initializer: Initializer, known: dict[str, Any], given: dict[str, Argument]) -> Bound:
    """The call with the error that `bind` finds in its known arguments alone, if it is one of theirs."""
    try:
        bind(initializer, known)
    except ArgumentError as error:
        if error.argument in known:
            return Bound(call, initializer, {}, frozenset(), given, error)
    return Bound(call, initializer, known, frozenset(), given)


def _argument(argument: Argument, name: str, initializer: Initializer, placed: Placed) -> Any:
    value = argument.value
    parameter = initializer.parameter(name)
    if isinstance(value, Name) and parameter is not None and parameter.choices:
        near = placed.lookup(value.name)
        return value.name if near is None else UNKNOWN
    if isinstance(value, String | Word):
        return constant(value, placed)
    try:
        found = constant(value, placed)
    except EvalError:
        return UNKNOWN
    return found


def bound_calls(file: File) -> tuple[tuple[Placed, Bound], ...]:
    """Every call of an initializer in the file, bound."""
    cache = file.__dict__.get("_bound")
    if cache is None:
        pairs = ((placed, bound(call, placed)) for placed, call in file.calls)
        cache = file.__dict__["_bound"] = tuple((placed, one) for placed, one in pairs if one is not None)
    found: tuple[tuple[Placed, Bound], ...] = cache
    return found


def drawn(one: Bound) -> Distribution | None:
    """What an element-wise initializer draws where that depends on its arguments alone."""
    if not one.complete or not one.initializer.elementwise or one.initializer.min_ndim:
        return None
    try:
        return one.initializer.distribution((1,), one.arguments)
    except (ArgumentError, ValueError, ZeroDivisionError, OverflowError):
        return None


def set_to(placed: Placed) -> float | None:
    """The one number that `S = value` or `S ~ constant()` writes everywhere, where the text tells it."""
    rule = placed.rule
    if not isinstance(rule, Assign) or rule.operator not in ("=", "~"):
        return None
    if isinstance(rule.value, Call) and not is_function(rule.value.function):
        one = bound(rule.value, placed)
        made = drawn(one) if one is not None else None
        return made.value if isinstance(made, Constant) else None
    if rule.operator == "~" or any(isinstance(n, Call) and not is_function(n.function) for n in walk(rule.value)):
        return None
    return number(rule.value, placed)
