"""Class patterns: names, globs and predicates."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from initdsl.language.expressions.shapes import EvalError, describe_value
from initdsl.language.syntax.nodes import Predicate
from initdsl.network.description import ClassInfo

__all__ = ["class_matches", "compare", "glob"]


@lru_cache(maxsize=4096)
def glob(pattern: str) -> re.Pattern[str]:
    """A glob over one name."""
    return re.compile("[^.]*".join(map(re.escape, re.split(r"\*+", pattern))) + r"\Z")


@lru_cache(maxsize=4096)
def _qualified(pattern: str) -> re.Pattern[str]:
    return re.compile(r"(?:.*\.)?" + glob(pattern).pattern)


def class_matches(pattern: str, cls: ClassInfo) -> bool:
    """Whether a class goes by a (qualified, globbed) name."""
    if "." in pattern:
        compiled = _qualified(pattern)
        return any(compiled.match(name) for name in cls.names)
    return cls.name == pattern or ("*" in pattern and glob(pattern).match(cls.name) is not None)


def compare(predicate: Predicate, value: Any, wanted: Any) -> bool:
    if isinstance(value, list):
        value = tuple(value)
    match predicate.operator:
        case "=":
            return bool(value == wanted)
        case "!=":
            return bool(value != wanted)
    numbers = (int, float)
    if not (isinstance(value, numbers) and isinstance(wanted, numbers)):
        if value is None:
            return False
        raise EvalError(
            f"`{predicate.attribute}` is {describe_value(value)} and can't be ordered with {describe_value(wanted)}",
            predicate.span,
        )
    return bool(
        {"<": value < wanted, "<=": value <= wanted, ">": value > wanted, ">=": value >= wanted}[
            str(predicate.operator)
        ]
    )
