"""A rule that a later one replaces everywhere.

## What it does
Finds rules whose every parameter a later rule sets again: the last rule wins, so the earlier one does nothing. Without a
model only where the text alone tells; a rule for everything is a background, which later ones may replace together.

## Why is this bad
Someone reads the earlier rule and believes it. Mostly the two are in the wrong order: the general rule stands below the
special one that it was meant to be the background of.

## Example
```init
LayerNorm.weight = 1
Linear.weight in net.head = 0
Linear.weight ~ normal(0, 0.02)
LayerNorm.bias = 0
```

## Use instead
```init
LayerNorm.weight = 1
Linear.weight ~ normal(0, 0.02)
Linear.weight in net.head = 0
LayerNorm.bias = 0
```

## Source
mmengine 691, transformers 35141: values that were set on purpose are drawn over by a later, general rule.
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
        if replaced.earlier.sets_base and not replaced.same:
            yield file.finding(
                replaced.earlier.rule,
                "a later rule sets everything this one does",
                "if it is the exception, move it below the other; else delete it",
                labels=(label(replaced.later, "this one wins"),),
            )
