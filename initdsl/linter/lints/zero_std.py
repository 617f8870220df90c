"""A draw that has no spread.

## What it does
Finds draws whose standard deviation, width or gain is 0.

## Why is this bad
All elements come out equal, so the units of a layer never differ. Mostly a number was rounded away, or two arguments are
in the wrong order: `normal(0.02, 0)`.

## Example
```init
Linear.weight ~ normal(0.02, 0)
```

## Use instead
```init
Linear.weight ~ normal(0, 0.02)
```

## Source
torch accepts `normal_(std=0)` without a word.
"""

from __future__ import annotations

from collections.abc import Iterator

from initdsl.initializers import Constant, Normal, Uniform
from initdsl.linter.definition import lint
from initdsl.linter.file import File
from initdsl.linter.values import distribution_of
from initdsl.text.diagnostic import Diagnostic


@lint()
def check(file: File) -> Iterator[Diagnostic]:
    for _, call in file.bound_calls:
        if call.error is not None or not call.initializer.draws:
            continue
        distribution = distribution_of(call)
        if (distribution is not None and distribution.std == 0) or call.get("gain") == 0:
            width = "width" if isinstance(distribution, Uniform) else "standard deviation"
            yield file.finding(
                call.call,
                f"this draws with {'gain' if distribution is None else width} 0: all elements are equal",
                "the mean comes first, and then the standard deviation: `normal(0, 0.02)`"
                if isinstance(distribution, Normal | Constant) and distribution.mean
                else "a constant is set with `=`",
            )
