"""A constant after `~`.

## What it does
Finds `~` before an initializer that gives every element the same value.

## Why is this bad
`~` says that values are drawn at random. A reader who looks for what depends on the seed finds a line that does not.

## Example
```init
Linear.bias ~ zeros()
```

## Use instead
```init
Linear.bias = zeros()
```
"""

from __future__ import annotations

from collections.abc import Iterator

from initdsl.linter.definition import lint
from initdsl.linter.file import File
from initdsl.linter.fixes import replacement
from initdsl.linter.values import drawn_calls, number_set
from initdsl.text.diagnostic import Diagnostic


@lint()
def check(file: File) -> Iterator[Diagnostic]:
    for placed, rule, call in drawn_calls(file.statements):
        is_constant = call.initializer.elementwise and not call.initializer.draws
        if is_constant or number_set(placed) is not None:
            fix = replacement(rule.operator_span, "=", "write `=`", safe=True)
            message = f"`{call.call.function}` is a constant and draws nothing"
            yield file.finding(rule.operator_span, message, "set it with `=`", fix)
