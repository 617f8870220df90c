"""A variance where a standard deviation belongs.

## What it does
Finds `normal(0, 2 / fan_in)` and the like: the second argument is the standard deviation, the formula a variance.

## Why is this bad
Kaiming's variance is `2 / fan_in`, Xavier's `2 / (fan_in + fan_out)`. Without the root a layer of 1024 inputs starts 22
times too small, and the signal is gone after a few of them.

## Example
```init
Linear.weight ~ normal(0, 2 / fan_in)
```

## Use instead
```init
Linear.weight ~ normal(0, sqrt(2 / fan_in))
```

## Source
transformers 47458: a standard deviation that was silently a wrong one.
"""

from __future__ import annotations

from collections.abc import Iterator

from initdsl.language.syntax.nodes import Binary, Expr, Name, Number
from initdsl.linter.definition import lint
from initdsl.linter.file import File
from initdsl.linter.values import bound_calls
from initdsl.text.diagnostic import Diagnostic, Edit, Fix
from initdsl.text.source import Span

FANS = ("fan_in", "fan_out")


@lint()
def check(file: File) -> Iterator[Diagnostic]:
    for _, one in bound_calls(file):
        argument = one.given.get("std")
        if argument is not None and _is_variance(argument.value):
            span = argument.value.span
            edits = (Edit(Span(span.start, span.start), "sqrt("), Edit(Span(span.end, span.end), ")"))
            yield file.finding(
                argument.value, "this is a variance, and `std` is its root", f"write `sqrt({file.text(argument.value)})`",
                Fix("take the root", edits, safe=False),
            )  # fmt: skip


def _is_variance(value: Expr) -> bool:
    """2 (or 4, Kaiming's for a mean of fans) over a fan or a sum of fans. 1 / fan is left alone: muP's readout has it."""
    if not isinstance(value, Binary) or value.operator != "/" or not isinstance(value.left, Number):
        return False
    below = value.right
    if isinstance(below, Binary) and below.operator == "+":
        return value.left.value in (2, 6) and all(
            isinstance(s, Name) and s.name in FANS for s in (below.left, below.right)
        )
    return value.left.value in (2, 3) and isinstance(below, Name) and below.name in FANS
