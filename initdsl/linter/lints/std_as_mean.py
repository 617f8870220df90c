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
The signature of `torch.nn.init.normal_(tensor, mean=0, std=1)`, against `std` first in other libraries.
"""

from __future__ import annotations

from collections.abc import Iterator

from initdsl.linter.definition import lint
from initdsl.linter.file import File
from initdsl.linter.fixes import replacement
from initdsl.text.diagnostic import Diagnostic


@lint()
def check(file: File) -> Iterator[Diagnostic]:
    for _, call in file.bound_calls:
        arguments = call.call.arguments
        if call.initializer.name not in ("normal", "trunc_normal", "trunc_normal_sd") or len(arguments) != 1:
            continue
        mean = call.number("mean")
        if arguments[0].name is None and mean is not None and 0 < abs(mean) < 1:
            std = f"std={file.text(arguments[0])}"
            fix = replacement(arguments[0], std, f"write `{std}`", safe=False)
            yield file.finding(
                arguments[0], f"{mean:g} is the mean here, and the standard deviation is 1", f"write `{std}`", fix
            )
