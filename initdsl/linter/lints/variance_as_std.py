"""A variance where a standard deviation belongs.

## What it does
Finds `normal(0, 2 / fan_in)`, `normal(0, 1 / in_features)` and the like: the second argument is the standard deviation, the formula a variance.

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
"""

from __future__ import annotations

from collections.abc import Iterator

from initdsl.language.syntax.nodes import Binary, Expr, Name, Number
from initdsl.linter.definition import lint
from initdsl.linter.file import File
from initdsl.linter.fixes import insertion
from initdsl.text.diagnostic import Diagnostic, Fix

FANS = ("fan_in", "fan_out")


# attributes of torch's layers that count what comes in
INPUTS = ("in_features", "in_channels", "embedding_dim", "input_size", "embed_dim")


@lint()
def check(file: File) -> Iterator[Diagnostic]:
    for _, call in file.bound_calls:
        argument = call.written.get("std")
        if argument is not None and _is_variance(argument.value):
            span = argument.value.span
            edits = (insertion(span.start, "sqrt("), insertion(span.end, ")"))
            yield file.finding(
                argument.value,
                "this is a variance, and `std` is its root",
                f"write `sqrt({file.text(argument.value)})`",
                Fix("take the root", edits, safe=False),
            )


def _is_variance(value: Expr) -> bool:
    """Tell whether this is 2 or 3 over a fan, 1 to 3 over a layer's inputs, or 2 or 6 over the sum of both fans.

    1 / fan_in is left alone: muP's readout has it.
    """
    if not isinstance(value, Binary) or value.operator != "/" or not isinstance(value.left, Number):
        return False
    numerator, divisor = value.left.value, value.right
    if isinstance(divisor, Binary) and divisor.operator == "+":
        return numerator in (2, 6) and _is_fan(divisor.left) and _is_fan(divisor.right)
    is_inputs = isinstance(divisor, Name) and divisor.name in INPUTS
    return (numerator in (2, 3) and _is_fan(divisor)) or (numerator in (1, 2, 3) and is_inputs)


def _is_fan(expr: Expr) -> bool:
    return isinstance(expr, Name) and expr.name in FANS
