"""A formula that divides by zero in the first layer.

## What it does
Finds divisions by something that is 0 where a bound index is 0.

## Why is this bad
A bound index counts from 0. A scale by depth written `/ sqrt(2 * i)` has no value in the first layer.

## Example
```init
net.layers[i].mlp.down.weight ~ normal(0, 0.02 / sqrt(2 * i))
```

## Use instead
```init
net.layers[i].mlp.down.weight ~ normal(0, 0.02 / sqrt(2 * (i + 1)))
```
"""

from __future__ import annotations

from collections.abc import Iterator

from initdsl.language.expressions.shapes import EvalError
from initdsl.language.syntax.nodes import Assign, Binary, Expr, Index, Name
from initdsl.language.syntax.walk import walk
from initdsl.linter.definition import lint
from initdsl.linter.file import File
from initdsl.linter.statements import Placed, selectors_around
from initdsl.linter.values import constant
from initdsl.text.diagnostic import Diagnostic


@lint(severity="error")
def check(file: File) -> Iterator[Diagnostic]:
    for placed in file.statements:
        indices = _bound_indices(placed)
        if not indices or not isinstance(placed.rule, Assign):
            continue
        for node in walk(placed.rule.value):
            if not isinstance(node, Binary) or node.operator not in ("/", "//", "%"):
                continue
            for name in sorted(indices & {n.name for n in walk(node.right) if isinstance(n, Name)}):
                if _is_zero(node.right, placed, name):
                    yield file.finding(
                        node.right, f"this is 0 where `{name}` is 0", f"`{name}` counts from 0: write `({name} + 1)`"
                    )


def _bound_indices(placed: Placed) -> set[str]:
    """Return the names that the selector binds to an index, which counts from 0."""
    items = [n.items for s in selectors_around(placed) for n in walk(s) if isinstance(n, Index) and len(n.items) == 1]
    names = {item.name for (item,) in items if isinstance(item, Name)}
    return {name for name in names if placed.lookup(name) is None}


def _is_zero(divisor: Expr, placed: Placed, index: str) -> bool:
    try:
        return constant(divisor, placed, **{index: 0}) == 0
    except EvalError:
        return False
