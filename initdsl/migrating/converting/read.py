"""Settings read from JSON, YAML and Python, without running anything."""

from __future__ import annotations

import ast
import json
import re
import warnings
from typing import Any

from initdsl.text.failures import first_line

from .calls import refusal

__all__ = ["LARGEST", "read_settings"]


# characters of a text, and parts of its values
LARGEST = 1 << 20


def read_settings(text: str) -> Any:
    """Return the values of a text: JSON as jsonnet allows it, Python literals, or YAML where PyYAML is installed."""
    if len(text) > LARGEST:
        raise refusal("bad-settings", f"settings have at most {LARGEST:,} characters")
    try:
        return json.loads(_without_trailing_commas(_without_comments(text)))
    except (ValueError, RecursionError):
        pass
    try:
        return _python(text)
    except (
        SyntaxError,
        ValueError,
        TypeError,
        RecursionError,
        MemoryError,
    ):  # what Python says of odd and of deep texts
        pass
    try:
        import yaml
    except ImportError:
        raise refusal(
            "bad-settings", "this is neither JSON nor a Python literal", "for YAML, `pip install pyyaml`"
        ) from None
    try:
        values = yaml.load(text, _plain_yaml(yaml))
    except (yaml.YAMLError, ValueError, ArithmeticError, TypeError, AttributeError, KeyError, RecursionError) as error:
        first = first_line(error) if isinstance(error, yaml.YAMLError) else "a value that can't be read"
        raise refusal("bad-settings", f"this is neither JSON, nor a Python literal, nor YAML: {first}") from None
    if not isinstance(values, dict | list):
        raise refusal("bad-settings", "this is neither JSON, nor a Python literal, nor YAML")
    return values


# what has no end goes to the end of the text, so that every text is read once
STRING = r'"(?:[^"\\]|\\.)*+(?:"|\Z)'


def _without_comments(text: str) -> str:
    comment = r"//[^\n]*+|/\*(?:[^*]|\*(?!/))*+(?:\*/|\Z)"
    return re.sub(rf"({STRING})|{comment}", lambda m: m[1] or "", text, flags=re.DOTALL)


def _without_trailing_commas(text: str) -> str:
    return re.sub(rf"({STRING})|,(\s*+[\]}}])", lambda m: m[1] or m[2], text, flags=re.DOTALL)


def _plain_yaml(yaml: Any) -> Any:
    """Return PyYAML's safe loader without aliases, by which a short text can stand for an endless one."""

    class Loader(yaml.SafeLoader):  # type: ignore[misc]
        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                raise yaml.YAMLError("aliases (`*name`) are not read, write them out")
            return super().compose_node(parent, index)

    return Loader


def _python(text: str) -> Any:
    """Return a Python literal, or the literals that a file assigns to names; of a file that has a `model`, that alone."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Python thinks of somebody's text
        tree = ast.parse(text.strip())
    literals = _Literals()
    if len(tree.body) == 1 and isinstance(tree.body[0], ast.Expr):
        values = literals.value(tree.body[0].value)
        if literals.computed:
            raise ValueError("no literal")
        return values
    for statement in tree.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                literals.assign(name, value)
    named = {name: value for name, (value, _) in literals.named.items() if not isinstance(value, _Computed)}
    if not named:
        raise ValueError("no literal")
    return {"model": named["model"]} if isinstance(named.get("model"), dict) else named


class _Computed:
    """A value that only running the file would tell: fine as long as no initializer needs it."""

    def __init__(self, source: str):
        self.source = source

    def __repr__(self) -> str:
        return f"`{self.source}`, which is computed"


class _Literals:
    """Python literals; `dict(a=1)` is one, and so is a name that a literal was assigned to further up."""

    def __init__(self) -> None:
        self.named: dict[str, tuple[Any, int]] = {}
        self.computed = False
        self.size = 0  # parts, those of names counted each time: a short text of names can stand for an endless value

    def assign(self, name: str, node: ast.expr) -> None:
        before = self.size
        value = self.value(node)
        self.named[name] = value, self.size - before

    def value(self, node: ast.expr) -> Any:
        self._grow(1)
        match node:
            case ast.Name(id=name) if name in self.named:
                value, size = self.named[name]
                self._grow(size)
                return value
            case ast.Call(func=ast.Name(id="dict"), args=[], keywords=keywords) if all(k.arg for k in keywords):
                return {str(k.arg): self.value(k.value) for k in keywords}
            case ast.Dict(keys=keys, values=values) if None not in keys:
                return {self.value(k): self.value(v) for k, v in zip(keys, values, strict=True) if k is not None}
            case ast.List(elts=items) | ast.Tuple(elts=items):
                return [self.value(item) for item in items]
        try:
            return ast.literal_eval(node)
        except ValueError:
            self.computed = True
            return _Computed(ast.unparse(node)[:80])

    def _grow(self, parts: int) -> None:
        self.size += parts
        if self.size > LARGEST:
            raise refusal(
                "bad-settings", f"settings have at most {LARGEST:,} parts, those that names stand for counted"
            )
