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

## Source
torchtitan 3722 and llama2.c 579: scales by depth gone wrong.
"""

from __future__ import annotations

from collections.abc import Iterator

from initdsl.language.expressions.shapes import EvalError
from initdsl.language.syntax.nodes import Assign, Binary, Index, Name
from initdsl.language.syntax.walk import walk
from initdsl.linter.definition import lint
from initdsl.linter.file import File, Placed
from initdsl.linter.values import constant
from initdsl.text.diagnostic import Diagnostic


@lint(severity="error")
def check(file: File) -> Iterator[Diagnostic]:
    for placed in file.statements:
        rule = placed.rule
        if not isinstance(rule, Assign):
            continue
        bound = _indices(placed)
        for node in walk(rule.value) if bound else ():
            if not isinstance(node, Binary) or node.operator not in ("/", "//", "%"):
                continue
            for name in sorted(bound & {n.name for n in walk(node.right) if isinstance(n, Name)}):
                if _is_zero(node, placed, name):
                    yield file.finding(
                        node.right, f"this is 0 where `{name}` is 0", f"`{name}` counts from 0: write `({name} + 1)`"
                    )


def _indices(placed: Placed) -> set[str]:
    """The names the selector binds, from 0 on."""
    selectors = [*(block.targets for block in placed.blocks), getattr(placed.rule, "targets", None)]
    steps = [n for s in selectors if s is not None for n in walk(s) if isinstance(n, Index)]
    return {
        step.items[0].name
        for step in steps
        if len(step.items) == 1 and isinstance(step.items[0], Name) and placed.lookup(step.items[0].name) is None
    }


def _is_zero(node: Binary, placed: Placed, name: str) -> bool:
    try:
        return bool(constant(node.right, placed, **{name: 0}) == 0)
    except EvalError:
        return False
