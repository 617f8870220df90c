"""A draw after `=`.

## What it does
Finds `=` before an initializer that draws at random.

## Why is this bad
The file can't be applied: `=` sets a value that is the same every time, `~` draws.

## Example
```init
Linear.weight = normal(0, 0.02)
```

## Use instead
```init
Linear.weight ~ normal(0, 0.02)
```
"""

from __future__ import annotations

from collections.abc import Iterator

from initdsl.initializers import default_registry
from initdsl.language.syntax.nodes import Assign
from initdsl.linter.definition import lint
from initdsl.linter.file import File
from initdsl.linter.fixes import replacement
from initdsl.linter.values import calls_of
from initdsl.text.diagnostic import Diagnostic


@lint(severity="error")
def check(file: File) -> Iterator[Diagnostic]:
    registry = default_registry()
    for placed in file.statements:
        rule = placed.rule
        if not isinstance(rule, Assign) or rule.operator != "=":
            continue
        called = (registry.loaded(call.function) for call in calls_of(rule.value))
        if any(initializer is not None and initializer.draws for initializer in called):
            fix = replacement(rule.operator_span, "~", "write `~`", safe=True)
            yield file.finding(
                rule.operator_span, "`=` sets a value, and this draws at random", "a draw is written `~`", fix
            )
