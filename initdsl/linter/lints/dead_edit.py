"""An edit that a later rule discards.

## What it does
Finds edits (`+=`, `*=`, an assignment to a slice) of parameters that a later rule sets as a whole.

## Why is this bad
A rule for the whole tensor discards what stands above it. The padding row that was zeroed is drawn over, the residual
scale is gone.

## Example
```init
Embedding.weight[padding_idx] = 0
Embedding.weight ~ normal(0, 0.02)
```

## Use instead
```init
Embedding.weight ~ normal(0, 0.02)
Embedding.weight[padding_idx] = 0
```
"""

from __future__ import annotations

from collections.abc import Iterator

from initdsl.linter.definition import lint
from initdsl.linter.file import File
from initdsl.linter.statements import label
from initdsl.text.diagnostic import Diagnostic


@lint()
def check(file: File) -> Iterator[Diagnostic]:
    for replaced in file.replaced:
        if replaced.earlier.on_top and not replaced.same:
            yield file.finding(
                replaced.earlier.rule,
                "a later rule discards this edit",
                "edits stand below the rule they change",
                labels=(label(replaced.later, "this sets the whole tensor"),),
            )
