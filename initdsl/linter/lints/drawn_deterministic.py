"""A deterministic initializer after `~`.

## What it does
Finds `~` before an initializer that draws nothing, such as `eye` or `dirac`.

## Why is this bad
`~` says that values are drawn at random. These are the same under every seed, so all layers they fill start alike.

## Example
```init
Linear.weight in net.skip ~ eye()
```

## Use instead
```init
Linear.weight in net.skip = eye()
```
"""

from __future__ import annotations

from collections.abc import Iterator

from initdsl.linter.definition import lint
from initdsl.linter.file import File
from initdsl.linter.fixes import replacement
from initdsl.linter.values import drawn_calls
from initdsl.text.diagnostic import Diagnostic


@lint()
def check(file: File) -> Iterator[Diagnostic]:
    for _, rule, call in drawn_calls(file.statements):
        if not call.initializer.elementwise and not call.initializer.draws:
            fix = replacement(rule.operator_span, "=", "write `=`", safe=True)
            yield file.finding(rule.operator_span, f"`{call.call.function}` draws nothing", "set it with `=`", fix)
