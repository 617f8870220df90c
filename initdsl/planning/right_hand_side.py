"""Right-hand sides: what one says by itself, before any tensor is looked at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import zip_longest

from initdsl.initializers import Registry
from initdsl.initializers.elsewhere import meant_initializer
from initdsl.language.expressions.functions import FANS, FUNCTIONS
from initdsl.language.expressions.let import Variables
from initdsl.language.expressions.shapes import EvalError
from initdsl.language.syntax.nodes import Assign, Call, Expr, Length, Name, Node, Word
from initdsl.language.syntax.walk import children
from initdsl.network.selectors.matches import Match
from initdsl.network.selectors.select import is_fixed

from .calls import Bound, bind_call, unknown_call
from .context import Context
from .lookups import Site, name_in
from .names import Names

__all__ = ["RightHandSide", "blamed_in_rule", "right_hand_side"]


@dataclass(frozen=True)
class RightHandSide:
    """What stands behind the operator: for `~ normal(0, std)` a `constant` whose `call` is `normal(0, std)`.

    `expr` is the value, with `let`s at the top looked through. A constant comes to the same for tensors that are alike.
    `call` is the initializer that is all of it, else None; `bound` what it is bound to, where no tensor makes a difference.
    """

    expr: Expr
    finite: bool  # whether a result that is not finite is an error
    constant: bool
    call: Call | None = None
    bound: Bound | None = None


@dataclass
class _Parts:
    """What an expression and the formulas it uses are made of, as they are met."""

    names: set[str] = field(default_factory=set)
    formulas: set[str] = field(default_factory=set)  # names of `let`s whose formulas are looked into
    calls: list[Call] = field(default_factory=list)  # of initializers and `load`
    words: set[str] = field(default_factory=set)
    looks_up: bool = False  # whether it looks at other parts of the network, from where its tensor is
    counts: bool = False  # whether it counts what a selector selects, which is the same from everywhere


def right_hand_side(context: Context, rule: Assign, variables: Variables) -> RightHandSide:
    """Return what a right-hand side says by itself. Raises EvalError for what can't be right on any model."""
    expr = _looked_through(rule.value, variables)
    parts = _parts(expr, variables, context.registry)
    call = expr if isinstance(expr, Call) and expr in parts.calls else None
    draws = [_draws(context, rule, each, each is expr) for each in parts.calls]
    _check_operator(context, rule, expr, any(draws), call)
    loads = any(each.function == "load" for each in parts.calls)  # each parameter its own tensor
    constant = not parts.looks_up and not loads and all(_is_constant(n, variables, parts) for n in parts.names)
    bound = None
    if constant and call is not None and not parts.counts:  # a count may be 0 where the rule selects nothing either
        names = Names(Site(context, variables, Match(0)))
        try:
            bound = bind_call(call, context.registry, names)
        except EvalError as error:
            raise blamed_in_rule(error, rule) from None
        bound = None if names.needs_tensors else bound
    return RightHandSide(expr, not ({"inf", "nan"} & parts.words), constant, call, bound)


def blamed_in_rule(error: EvalError, rule: Assign) -> EvalError:
    """Return an error in a `let`'s formula blamed where it is used, if its text is in another place."""
    if rule.value.span.start <= error.span.start and error.span.end <= rule.value.span.end:
        return error
    return EvalError(error.message, rule.value.span, error.hint, error.name)


def _looked_through(expr: Expr, variables: Variables) -> Expr:
    """Return the formula that a name stands for, or that the name in its place stands for, and so on."""
    seen: set[str] = set()
    while isinstance(expr, Name) and expr.name in variables and expr.name not in seen:
        formula = variables[expr.name].expr
        if formula is None:
            break
        seen.add(expr.name)
        expr = formula
    return expr


def _parts(expr: Expr, variables: Variables, registry: Registry) -> _Parts:
    parts = _Parts()
    formulas = [expr]
    while formulas:
        for node in _nodes(formulas.pop(), variables, registry):
            if isinstance(node, Name):
                parts.names.add(node.name)
                formula = variables[node.name].expr if node.name in variables else None
                if formula is not None and node.name not in parts.formulas:
                    parts.formulas.add(node.name)
                    formulas.append(formula)
            elif isinstance(node, Call) and node.function not in FUNCTIONS and node.function not in FANS:
                parts.calls.append(node)
            elif isinstance(node, Word):
                parts.words.add(node.word)
            elif isinstance(node, Length) and is_fixed(node.selector) and name_in(node.selector) is None:
                parts.counts = True
            elif node.kind in ("length", "member", "path") or (
                isinstance(node, Call) and node.function == "base_shape"
            ):
                parts.looks_up = True
    return parts


def _nodes(expr: Expr, variables: Variables, registry: Registry) -> Iterator[Node]:
    """Yield an expression and everything inside it, outermost first, but for names that are words of an enumeration."""
    stack: list[Node] = [expr]
    while stack:
        node = stack.pop()
        yield node
        if isinstance(node, Length) and is_fixed(node.selector) and name_in(node.selector) is None:
            continue
        inside: list[Node] = list(_values(node, variables, registry)) if isinstance(node, Call) else children(node)
        inside.reverse()
        stack += inside


def _values(call: Call, variables: Variables, registry: Registry) -> Iterator[Node]:
    """Yield the arguments of a call, but for words of an enumeration: `mode=fan_in`."""
    initializer = None if call.function in FUNCTIONS else registry.get(call.function)
    parameters = initializer.parameters[: len(call.arguments)] if initializer is not None else ()
    for argument, by_place in zip_longest(call.arguments, parameters):
        value = argument.value
        if initializer is not None and isinstance(value, Name):
            parameter = by_place if argument.name is None else initializer.parameter(argument.name)
            choices = parameter.choices if parameter is not None else None
            if choices and (value.name in choices or value.name not in variables):
                continue
        yield value


def _is_constant(name: str, variables: Variables, parts: _Parts) -> bool:
    return name in parts.formulas or (name in variables and variables[name].expr is None)


# ---- checks


def _draws(context: Context, rule: Assign, call: Call, alone: bool) -> bool:
    """Return whether a call draws at random. Raises EvalError for one that is unknown, or that no seed reaches."""
    if call.function == "load":
        if alone and rule.operator == "~":
            message = f"a file's values are set with `=`, not `{rule.operator}`"
            raise EvalError(message, rule.operator_span, name="bad-load")
        return False
    initializer = context.registry.get(call.function)
    if initializer is None:
        raise blamed_in_rule(unknown_call(call, context.registry), rule)
    seedless = not (initializer.builtin or initializer.elementwise or initializer.takes_generator)
    if context.seed is not None and seedless and rule.operator == "~" and alone:
        error = EvalError(
            f"`{call.function}` takes no `generator`, so a seed does not reach what it draws",
            call.name_span,
            "give it a parameter `generator=None` to draw from; if it draws nothing, write `=`",
            "needs-generator",
        )
        raise blamed_in_rule(error, rule)
    return initializer.draws


def _check_operator(context: Context, rule: Assign, expr: Expr, draws: bool, call: Call | None) -> None:
    """Raise EvalError where `~` stands before what draws nothing, or `=` before what draws."""
    if rule.operator == "~" and not draws and call is None:
        meant = meant_initializer(expr.name, [*context.registry]) if isinstance(expr, Name) else None
        hint = "a value is set with `=`" if meant is None else f"a call has parentheses: `{meant}()`"
        raise EvalError("`~` draws at random, and this does not draw", rule.operator_span, hint, "plain-draw")
    if rule.operator == "=" and draws:
        message, hint = "`=` sets a value, and this draws at random", "a draw is written `~`"
        raise EvalError(message, rule.operator_span, hint, "unexpected-draw")
