"""A normalization layer whose scale is drawn around 0.

## What it does
Finds draws with a mean of 0 for the weight of a norm (`LayerNorm`, `BatchNorm2d`, `*Norm*`).

## Why is this bad
The weight of a norm multiplies what comes out of it. Drawn around 0, it scales every channel to almost nothing, half of
them with the sign turned: as if each layer began with a small random matrix.

## Example
```init
LayerNorm.weight ~ normal(0, 0.02)
LayerNorm.bias   = 0
```

## Use instead
```init
LayerNorm.weight = 1
LayerNorm.bias   = 0
```
"""

from __future__ import annotations

from collections.abc import Iterator

from initdsl.linter.definition import lint
from initdsl.linter.file import File
from initdsl.linter.targets import Target
from initdsl.linter.values import distribution_of, drawn_calls
from initdsl.text.diagnostic import Diagnostic


@lint()
def check(file: File) -> Iterator[Diagnostic]:
    for placed, rule, call in drawn_calls(file.statements):
        if not any(_is_scale(target) for target in placed.targets or ()):
            continue
        values = distribution_of(call)
        if values is not None and values.mean == 0 and values.std > 0:
            message = "the weight of a norm is its scale, and this draws it around 0"
            yield file.finding(rule.value, message, "a scale starts at 1: write `= 1`, or `normal(1, 0.02)`")


def _is_scale(target: Target) -> bool:
    return "Norm" in (target.class_name or "") and target.name == "weight" and len(target.steps) == 1
