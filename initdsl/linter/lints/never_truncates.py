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
from initdsl.linter.values import UNKNOWN, bound_calls
from initdsl.text.diagnostic import Diagnostic

FAR = 6


@lint()
def check(file: File) -> Iterator[Diagnostic]:
    for _, one in bound_calls(file):
        if one.initializer.name not in ("trunc_normal", "trunc_normal_sd") or one.error is not None:
            continue
        mean, std, a, b = (one.get(name) for name in ("mean", "std", "a", "b"))
        if one.initializer.name == "trunc_normal_sd":
            mean, std = 0.0, 1.0
        if any(value is UNKNOWN or not isinstance(value, int | float) for value in (mean, std, a, b)) or not std:
            continue
        nearest = min(abs(a - mean), abs(b - mean)) / std
        if a < mean < b and nearest > FAR and nearest != float("inf"):
            low, high = mean - 2 * std, mean + 2 * std
            hint = f"bounds are absolute values: two standard deviations are `a={low:g}, b={high:g}`"
            if one.initializer.name == "trunc_normal_sd":
                hint = "bounds are counted in standard deviations"
            fix = None
            if one.initializer.name == "trunc_normal" and not {"a", "b"} & set(one.given):
                end = one.call.span.end - 1
                text = f", a={low:g}, b={high:g}" if one.given else f"a={low:g}, b={high:g}"
                fix = file.replacement(
                    type(one.call.span)(end, end), text, "cut at two standard deviations", safe=False
                )
            yield file.finding(
                one.call, f"the bounds lie {nearest:g} standard deviations away and never cut", hint, fix
            )
