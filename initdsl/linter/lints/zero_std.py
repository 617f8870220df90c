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
pytorch 72253: layers that start identical; torch accepts `normal_(std=0)` without a word.
"""

from __future__ import annotations

from collections.abc import Iterator

from initdsl.linter.definition import lint
from initdsl.linter.file import File
from initdsl.linter.values import bound_calls, drawn
from initdsl.text.diagnostic import Diagnostic


@lint()
def check(file: File) -> Iterator[Diagnostic]:
    for _, one in bound_calls(file):
        if one.error is not None or not one.initializer.draws:
            continue
        made = drawn(one)
        if (made is not None and made.std == 0) or one.get("gain") == 0:
            what = "gain" if made is None else "width" if made.kind == "uniform" else "standard deviation"
            yield file.finding(
                one.call, f"this draws with {what} 0: all elements are equal", "a constant is set with `=`"
            )
