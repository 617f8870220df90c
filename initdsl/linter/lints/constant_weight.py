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

## Source
pytorch 72253, 86274: layers that start identical.
"""

from __future__ import annotations

from collections.abc import Iterator

from initdsl.linter.definition import lint
from initdsl.linter.file import File
from initdsl.linter.targets import MATRICES
from initdsl.linter.values import set_to
from initdsl.text.diagnostic import Diagnostic


@lint()
def check(file: File) -> Iterator[Diagnostic]:
    edited = {t.name for p in file.everything if p.on_top for t in p.targets or ()}
    for placed in file.statements:
        targets = placed.targets
        if not targets or not placed.sets_base or edited & {"weight", None}:
            continue
        matrices = [t for t in targets if t.name == "weight" and t.class_name in MATRICES and _direct(t)]
        value = set_to(placed) if matrices else None
        if value:
            yield file.finding(
                placed.rule, f"every element of a weight matrix is {value:g}, so its units never differ",
                "draw it, as in `~ xavier_uniform()`",
            )  # fmt: skip


def _direct(target: object) -> bool:
    """Whether the weight is the class's own, not that of something inside it."""
    return len(getattr(getattr(target, "base", None), "steps", ())) == 1
