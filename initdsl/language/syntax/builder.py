"""The parse tree to the values of `nodes`: for every rule of the grammar a function in `building`."""

from __future__ import annotations

from types import SimpleNamespace

from .building import expressions, selectors, statements

__all__ = ["builder"]


def builder() -> SimpleNamespace:
    """Return what lark calls a transformer: an attribute for every rule of the grammar, the function that makes its node."""
    functions = {
        name.rstrip("_"): function
        for module in (statements, selectors, expressions)
        for name, function in vars(module).items()
        if name[0] != "_" and getattr(function, "__module__", None) == module.__name__
    }
    return SimpleNamespace(**functions)
