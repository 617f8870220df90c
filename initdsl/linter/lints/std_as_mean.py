"""A standard deviation where the mean belongs.

## What it does
Finds `normal` and the truncated normals called with one small number and nothing else.

## Why is this bad
The first argument is the mean. `normal(0.02)` draws with mean 0.02 and standard deviation 1, fifty times what was meant.

## Example
```init
Linear.weight ~ normal(0.02)
```

## Use instead
```init
Linear.weight ~ normal(std=0.02)
```

## Source
The signature of `torch.nn.init.normal_(tensor, mean=0, std=1)`, against `std` first in other libraries; transformers 47458.
"""

from __future__ import annotations

from collections.abc import Iterator

from initdsl.linter.definition import lint
from initdsl.linter.file import File
from initdsl.linter.values import bound_calls
from initdsl.text.diagnostic import Diagnostic


@lint()
def check(file: File) -> Iterator[Diagnostic]:
    for _, one in bound_calls(file):
        if one.initializer.name not in ("normal", "trunc_normal", "trunc_normal_sd") or len(one.call.arguments) != 1:
            continue
        argument = one.call.arguments[0]
        mean = one.get("mean")
        if argument.name is None and isinstance(mean, int | float) and 0 < abs(mean) < 1:
            shown = file.text(argument)
            fix = file.replacement(argument, f"std={shown}", f"write `std={shown}`", safe=False)
            yield file.finding(
                argument, f"{mean:g} is the mean here, and the standard deviation is 1", f"write `std={shown}`", fix
            )
