"""A truncated normal whose bounds are never reached.

## What it does
Finds `trunc_normal` with both bounds more than 6 standard deviations away from the mean.

## Why is this bad
The bounds of `trunc_normal` are absolute values, not multiples of the standard deviation. With `std=0.02` the default
bounds -2 and 2 lie at 100 standard deviations, and cut nothing.

## Example
```init
Linear.weight ~ trunc_normal(std=0.02)
```

## Use instead
```init
Linear.weight ~ trunc_normal(std=0.02, a=-0.04, b=0.04)
```

## Source
torchtitan 3722: `trunc_normal_(std=0.02)` with bounds -2 and 2 cuts at 100 standard deviations.
"""

from __future__ import annotations

from collections.abc import Iterator

from initdsl.linter.definition import lint
from initdsl.linter.file import File
from initdsl.linter.fixes import insertion
from initdsl.linter.values import BoundCall
from initdsl.text.diagnostic import Diagnostic, Fix

# standard deviations beyond which nothing is drawn
FAR = 6


@lint()
def check(file: File) -> Iterator[Diagnostic]:
    for _, call in file.bound_calls:
        in_deviations = call.initializer.name == "trunc_normal_sd"  # its bounds are multiples of the deviation
        if (call.initializer.name != "trunc_normal" and not in_deviations) or call.error is not None:
            continue
        mean, std = (0.0, 1.0) if in_deviations else (call.number("mean"), call.number("std"))
        low, high = call.number("a"), call.number("b")
        if mean is None or not std or low is None or high is None:
            continue
        distance = min(abs(low - mean), abs(high - mean)) / std
        if low < mean < high and FAR < distance != float("inf"):
            message = f"the bounds lie {distance:g} standard deviations away and never cut"
            if in_deviations:
                yield file.finding(call.call, message, "bounds are counted in standard deviations")
            else:
                bounds = f"a={mean - 2 * std:g}, b={mean + 2 * std:g}"
                hint = f"bounds are absolute values: two standard deviations are `{bounds}`"
                yield file.finding(call.call, message, hint, _cut(call, bounds))


def _cut(call: BoundCall, bounds: str) -> Fix | None:
    if {"a", "b"} & set(call.written):
        return None
    edit = insertion(call.call.span.end - 1, f", {bounds}" if call.written else bounds)
    return Fix("cut at two standard deviations", (edit,), safe=False)
