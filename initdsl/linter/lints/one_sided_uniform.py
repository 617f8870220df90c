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
from initdsl.language.syntax.nodes import Assign
from initdsl.linter.definition import lint
from initdsl.linter.file import File
from initdsl.linter.targets import MATRICES
from initdsl.linter.values import bound, drawn
from initdsl.text.diagnostic import Diagnostic


@lint()
def check(file: File) -> Iterator[Diagnostic]:
    for placed in file.statements:
        rule = placed.rule
        if not isinstance(rule, Assign) or rule.operator != "~" or rule.value.kind != "call":
            continue
        one = bound(rule.value, placed)
        made = drawn(one) if one is not None else None
        if not isinstance(made, Uniform) or made.low < 0 or made.low == made.high:
            continue
        if any(t.name == "weight" and (t.class_name in MATRICES or t.class_name == "*") for t in placed.targets or ()):
            top = made.low or made.high
            yield file.finding(
                rule.value, f"this draws between {made.low:g} and {made.high:g}, so no weight is negative",
                f"write `uniform(-{top:g}, {top:g})`",
            )  # fmt: skip
