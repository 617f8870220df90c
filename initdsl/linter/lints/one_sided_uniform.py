"""Weights drawn uniformly from one side of zero.

## What it does
Finds `uniform` with a lower bound of 0 or more for weight matrices.

## Why is this bad
`uniform(0.1)` is not ±0.1 but from 0.1 to 1: the arguments are the two bounds, by default 0 and 1. Weights that are all
positive push every unit the same way.

## Example
```init
Linear.weight ~ uniform(0.1)
```

## Use instead
```init
Linear.weight ~ uniform(-0.1, 0.1)
```

## Source
The signature of `torch.nn.init.uniform_(tensor, a=0, b=1)`, against one symmetric `scale` in JAX's `uniform`.
"""

from __future__ import annotations

from collections.abc import Iterator

from initdsl.initializers import Uniform
from initdsl.linter.definition import lint
from initdsl.linter.file import File
from initdsl.linter.targets import MATRICES
from initdsl.linter.values import distribution_of, drawn_calls
from initdsl.text.diagnostic import Diagnostic


@lint()
def check(file: File) -> Iterator[Diagnostic]:
    for placed, rule, call in drawn_calls(file.statements):
        uniform = distribution_of(call)
        if not isinstance(uniform, Uniform) or uniform.low < 0 or uniform.low == uniform.high:
            continue
        if any(t.name == "weight" and (t.class_name in MATRICES or t.class_name == "*") for t in placed.targets or ()):
            scale = uniform.low or uniform.high
            yield file.finding(
                rule.value,
                f"this draws between {uniform.low:g} and {uniform.high:g}, so no weight is negative",
                f"write `uniform(-{scale:g}, {scale:g})`",
            )
