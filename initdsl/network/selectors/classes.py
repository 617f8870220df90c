"""Class patterns: names, globs and predicates."""

from __future__ import annotations

import operator
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from initdsl.language.expressions.evaluate import evaluate
from initdsl.language.expressions.shapes import EvalError, describe_value
from initdsl.language.syntax.nodes import ClassPattern, Name, Node, Number, Predicate, String
from initdsl.language.syntax.walk import walk
from initdsl.network.attributes import MISSING
from initdsl.network.parts import ClassInfo
from initdsl.text.wording import did_you_mean

from .context import SelectorContext, State
from .matches import Scope

__all__ = ["check_predicates", "glob", "has_names", "holds", "of_class", "of_class_name", "scope_of"]


# what a predicate on a parameter may ask of it
FACTS = ("ndim", "numel", "shape", "dtype", "requires_grad")


ORDERS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


# ---- names


@lru_cache(maxsize=4096)
def glob(pattern: str) -> re.Pattern[str]:
    """Return a glob over one name as a regular expression; `*` does not match a dot."""
    return re.compile("[^.]*".join(map(re.escape, re.split(r"\*+", pattern))) + r"\Z")


@lru_cache(maxsize=4096)
def _qualified(pattern: str) -> re.Pattern[str]:
    return re.compile(r"(?:.*\.)?" + glob(pattern).pattern)


def _class_matches(pattern: str, cls: ClassInfo) -> bool:
    """Whether a class goes by a (qualified, globbed) name."""
    if "." in pattern:
        compiled = _qualified(pattern)
        return any(compiled.match(name) for name in cls.names)
    return cls.name == pattern or ("*" in pattern and glob(pattern).match(cls.name) is not None)


def of_class_name(context: SelectorContext, name: str, subclasses: bool) -> list[int]:
    """Return the modules, by index, whose class goes by a name, predicates left aside."""
    modules: list[int] = []
    for cls, indices in context.network.by_class.items():
        if _class_matches(name, cls) or (subclasses and any(_class_matches(name, base) for base in cls.bases)):
            modules += indices
    return sorted(modules)


# ---- patterns


def of_class(context: SelectorContext, pattern: ClassPattern) -> list[int]:
    """Return the modules that a class pattern selects, by index, in the order of the model."""
    classes = context.cache.classes
    if pattern in classes:
        return classes[pattern]
    modules = _by_equality(context, pattern)
    if modules is None:
        modules = of_class_name(context, pattern.name, pattern.subclasses)
        if pattern.predicates:
            states = [_at_class(index) for index in modules]
            check_predicates(context, pattern.predicates, states)
            modules = [state.module for state in states if holds(context, pattern.predicates, state)]
    if not any(has_names(p.value) for p in pattern.predicates if p.value is not None):
        classes[pattern] = modules
    return modules


def _by_equality(context: SelectorContext, pattern: ClassPattern) -> list[int] | None:
    """Return the modules of `Class(attribute=number)` from a table by the attribute's value; None for other patterns.

    Rules for every layer of a large model (`Block(layer_idx=17)`) would otherwise look at all layers each.
    """
    if len(pattern.predicates) != 1:
        return None
    predicate = pattern.predicates[0]
    if predicate.operator != "=" or not isinstance(predicate.value, Number):
        return None
    key = (pattern.name, pattern.subclasses, predicate.attribute)
    by_value = context.cache.by_attribute.get(key)
    if by_value is None:
        states = [_at_class(index) for index in of_class_name(context, pattern.name, pattern.subclasses)]
        check_predicates(context, pattern.predicates, states)
        by_value = context.cache.by_attribute[key] = {}
        for state in states:
            value = _fact(context, predicate.attribute, state)
            if isinstance(value, int | float):
                by_value.setdefault(value, []).append(state.module)
    return by_value.get(predicate.value.value, [])


def _at_class(module: int) -> State:
    return State(module, None, (), module, None)


def has_names(node: Node) -> bool:
    """Whether what an expression or selector means depends on names, bound or looked up."""
    return any(inner.kind in ("name", "length", "call", "member") for inner in walk(node))


# ---- predicates


def check_predicates(context: SelectorContext, predicates: Iterable[Predicate], states: list[State]) -> None:
    """Refuse an attribute that none of the modules or tensors has: a mistake, not a condition that doesn't hold."""
    for predicate in predicates:
        if states and all(_fact(context, predicate.attribute, state) is MISSING for state in states):
            first = states[0]
            module = context.network.modules[first.module]
            if first.tensor is not None:
                subject, words = "tensor", list(FACTS)
            else:
                words = [*module.attributes(), *module.parameters, *module.absent, *module.children]
                subject = module.cls.name
            message = f"`{subject}` has no attribute `{predicate.attribute}`"
            raise EvalError(message, predicate.span, did_you_mean(predicate.attribute, words), "unknown-attribute")


def holds(context: SelectorContext, predicates: Iterable[Predicate], state: State) -> bool:
    """Whether a module or tensor meets every condition."""
    return all(_holds(context, predicate, state) for predicate in predicates)


def _holds(context: SelectorContext, predicate: Predicate, state: State) -> bool:
    value = _fact(context, predicate.attribute, state)
    if value is MISSING and predicate.attribute in FACTS:
        return False  # a condition on tensors, and this is a module
    if predicate.operator is None:
        return _is_there(value)
    if predicate.operator == "!":
        return not _is_there(value)
    return value is not MISSING and _compare(predicate, value, _operand(context, predicate, state))


def _is_there(value: Any) -> bool:
    """Whether an attribute is there, and not none, false, 0 or empty."""
    if value is MISSING or value is None or value is False:
        return False
    return bool(value != 0 and value != () and value != "")


def _fact(context: SelectorContext, name: str, state: State) -> Any:
    """Return an attribute of a module, or a fact of a tensor; MISSING where there is none."""
    if state.tensor is not None:
        return getattr(context.network.tensors[state.tensor], name) if name in FACTS else MISSING
    module = context.network.modules[state.module]
    value = module.attribute(name)
    if value is not MISSING:
        return value
    if name in module.parameters or name in module.buffers or name in module.children:
        return True
    return None if name in module.absent else MISSING


def _operand(context: SelectorContext, predicate: Predicate, state: State) -> Any:
    """Return the value that a predicate compares with."""
    node = predicate.value
    assert node is not None
    if predicate.attribute == "dtype" and isinstance(node, Name | String):
        return (node.name if isinstance(node, Name) else node.value).removeprefix("torch.")
    value = evaluate(node, context.environment(state.module, state.bindings, scope_of(state)))
    return tuple(value) if isinstance(value, list) else value


def scope_of(state: State) -> Scope:
    """Return the modules of the enclosing blocks, inner first."""
    return () if state.frame is None else (state.frame.module, *state.frame.scope)


def _compare(predicate: Predicate, value: Any, operand: Any) -> bool:
    if isinstance(value, list):
        value = tuple(value)
    if predicate.operator == "=":
        return bool(value == operand)
    if predicate.operator == "!=":
        return bool(value != operand)
    if not (isinstance(value, int | float) and isinstance(operand, int | float)):
        if value is None:
            return False
        subject = f"`{predicate.attribute}` is {describe_value(value)}"
        raise EvalError(f"{subject} and can't be ordered with {describe_value(operand)}", predicate.span)
    return bool(ORDERS[str(predicate.operator)](value, operand))
