"""An edit that changes nothing.

## What it does
Finds `+= 0`, `-= 0`, `*= 1` and `/= 1`.

## Why is this bad
A factor that was to be filled in never was, and the report shows an edit that is none.

## Example
```init
Linear.weight ~ normal(0, 0.02)
Linear.weight in net.head *= 1
```

## Use instead
```init
Linear.weight ~ normal(0, 0.02)
```
"""

from __future__ import annotations

from collections.abc import Iterator

from initdsl.language.syntax.nodes import Assign, Number
from initdsl.linter.definition import lint
from initdsl.linter.file import File
from initdsl.linter.fixes import removal
from initdsl.text.diagnostic import Diagnostic, Fix

NEUTRAL = {"+=": 0, "-=": 0, "*=": 1, "/=": 1}


@lint()
def check(file: File) -> Iterator[Diagnostic]:
    for placed in file.statements:
        rule = placed.rule
        if isinstance(rule, Assign) and isinstance(rule.value, Number):
            if rule.value.value == NEUTRAL.get(rule.operator):
                fix = Fix("delete it", (removal(file.source, rule.span),), safe=False)
                yield file.finding(rule, f"`{rule.operator} {file.text(rule.value)}` changes nothing", "delete it", fix)
