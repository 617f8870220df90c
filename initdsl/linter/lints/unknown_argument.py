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
"""

from __future__ import annotations

from collections.abc import Iterator

from initdsl.language.syntax.nodes import Argument
from initdsl.linter.definition import lint
from initdsl.linter.file import File
from initdsl.linter.fixes import replacement
from initdsl.linter.values import BoundCall
from initdsl.text.diagnostic import Diagnostic, Fix
from initdsl.text.source import Span
from initdsl.text.wording import nearest


@lint(severity="error")
def check(file: File) -> Iterator[Diagnostic]:
    for _, call in file.bound_calls:
        error = call.error
        if error is not None and error.name == "unknown-argument":
            argument = next((a for a in call.call.arguments if a.name == error.argument), None)
            fix = None if argument is None else _nearest_parameter(argument, call)
            yield file.finding(argument or call.call, str(error), error.hint, fix)


def _nearest_parameter(argument: Argument, call: BoundCall) -> Fix | None:
    name = argument.name or ""
    near = nearest(name, [parameter.name for parameter in call.initializer.parameters])
    start = argument.span.start
    return None if near is None else replacement(Span(start, start + len(name)), near, f"write `{near}`", safe=False)
