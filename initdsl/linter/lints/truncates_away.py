"""A truncated normal of which next to nothing is left.

## What it does
Finds `trunc_normal` and `trunc_normal_sd` whose bounds leave less than 1 % of the normal distribution.

## Why is this bad
The bounds are absolute values: with a mean of 5 the default bounds -2 and 2 keep only the far tail, and what is drawn has
neither the mean nor the standard deviation that is written there.

## Example
```init
LayerNorm.weight ~ trunc_normal(mean=5, std=0.5)
```

## Use instead
```init
LayerNorm.weight ~ trunc_normal(mean=5, std=0.5, a=4, b=6)
```
"""

from __future__ import annotations

from collections.abc import Iterator

from initdsl.initializers import TruncatedNormal
from initdsl.linter.definition import lint
from initdsl.linter.file import File
from initdsl.linter.values import distribution_of
from initdsl.text.diagnostic import Diagnostic

# the share of the distribution that bounds should leave
LEAST = 0.01


@lint(severity="error")
def check(file: File) -> Iterator[Diagnostic]:
    for _, call in file.bound_calls:
        if call.error is not None:
            if call.error.name == "truncates-away":
                yield file.finding(call.call, str(call.error), call.error.hint)
            continue
        distribution = distribution_of(call)
        if isinstance(distribution, TruncatedNormal) and distribution.mass < LEAST:
            yield file.finding(
                call.call,
                f"the bounds leave {100 * distribution.mass:.2g} % of the distribution",
                "the bounds of `trunc_normal` are absolute values; `trunc_normal_sd` takes them in standard deviations",
            )
