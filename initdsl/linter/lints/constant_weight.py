"""A weight matrix of which all elements are equal.

## What it does
Finds rules that set the weight of a linear, convolutional or embedding layer to one number other than 0.

## Why is this bad
Units that start equal receive equal gradients and stay equal: the layer acts as if it had one unit. (Zero is left alone:
it starts a residual branch or a head at nothing, on purpose.)

## Example
```init
Linear.weight = 0.01
```

## Use instead
```init
Linear.weight ~ normal(0, 0.01)
```
"""

from __future__ import annotations

from collections.abc import Iterator

from initdsl.linter.definition import lint
from initdsl.linter.file import File
from initdsl.linter.targets import MATRICES, Target
from initdsl.linter.values import number_set
from initdsl.text.diagnostic import Diagnostic


@lint()
def check(file: File) -> Iterator[Diagnostic]:
    edited = {target.name for placed in file.everything if placed.on_top for target in placed.targets or ()}
    if edited & {"weight", None}:
        return
    for placed in file.statements:
        if not placed.sets_base or not any(_is_matrix(target) for target in placed.targets or ()):
            continue
        value = number_set(placed)
        if value:
            yield file.finding(
                placed.rule,
                f"every element of a weight matrix is {value:g}, so its units never differ",
                "draw it, as in `~ xavier_uniform()`",
            )


def _is_matrix(target: Target) -> bool:
    """Tell whether a target is the own weight of a linear, convolutional or embedding layer."""
    return target.name == "weight" and target.class_name in MATRICES and len(target.steps) == 1
