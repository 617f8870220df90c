"""An argument the initializer doesn't have.

## What it does
Finds arguments by a name that the called initializer doesn't know.

## Why is this bad
The file can't be applied.

## Example
```init
Linear.weight ~ normal(0, stdev=0.02)
```

## Use instead
```init
Linear.weight ~ normal(0, std=0.02)
```

## Source
mmcv 1150: settings of an initializer that nothing read.
"""

from __future__ import annotations

from collections.abc import Iterator

from initdsl.linter.definition import lint
from initdsl.linter.file import File
from initdsl.linter.values import bound_calls
from initdsl.text.diagnostic import Diagnostic
from initdsl.text.wording import nearest


@lint(severity="error")
def check(file: File) -> Iterator[Diagnostic]:
    for _, one in bound_calls(file):
        if one.error is None or one.error.name != "unknown-argument":
            continue
        argument = next((a for a in one.call.arguments if a.name == one.error.argument), None)
        fix = None
        if argument is not None and argument.name is not None:
            near = nearest(argument.name, [p.name for p in one.initializer.parameters])
            if near:
                start = argument.span.start
                span = type(argument.span)(start, start + len(argument.name))
                fix = file.replacement(span, near, f"write `{near}`", safe=False)
        yield file.finding(argument or one.call, str(one.error), one.error.hint, fix)
