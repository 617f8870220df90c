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

## Source
pytorch 72253: layers that start identical because nothing was drawn for them.
"""

from __future__ import annotations

from collections.abc import Iterator

from initdsl.language.syntax.nodes import Assign, Call
from initdsl.linter.definition import lint
from initdsl.linter.file import File
from initdsl.linter.fixes import replacement
from initdsl.linter.values import bind
from initdsl.text.diagnostic import Diagnostic


@lint()
def check(file: File) -> Iterator[Diagnostic]:
    for placed in file.statements:
        rule = placed.rule
        if not isinstance(rule, Assign) or rule.operator != "~" or not isinstance(rule.value, Call):
            continue
        call = bind(rule.value, placed)
        if call is not None and not call.initializer.elementwise and not call.initializer.draws:
            fix = replacement(rule.operator_span, "=", "write `=`", safe=True)
            yield file.finding(rule.operator_span, f"`{rule.value.function}` draws nothing", "set it with `=`", fix)
