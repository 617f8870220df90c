"""What the reserved words of the language say, in a line each."""

from __future__ import annotations

import inspect
from functools import lru_cache
from typing import get_args

from initdsl.language.syntax.nodes import Rule

__all__ = ["description"]


DESCRIPTIONS = {
    "in": "Inside of",
    "not": "The opposite",
    "as": "Through another shape",
    "and": "Both",
    "or": "Either",
    "true": "Yes",
    "false": "No",
    "none": "No value",
    "inf": "Infinity",
    "nan": "Not a number",
    "pi": "3.14159...",
    "it": "The tensor the rule writes to",
    "net": "The network",
}


def description(word: str) -> str:
    """Return what a reserved word says; a statement's is the first line of its node's documentation."""
    return DESCRIPTIONS.get(word) or _statements().get(word, "")


@lru_cache(maxsize=1)
def _statements() -> dict[str, str]:
    """Return the first line of each statement's documentation by its keyword."""
    nodes = {node.__dataclass_fields__["kind"].default: node for node in get_args(get_args(Rule)[0])}
    lines = {kind: (inspect.getdoc(node) or "").partition("\n")[0] for kind, node in nodes.items()}
    return {kind: line.removesuffix(".") for kind, line in lines.items()}
