"""A plain value after `~`.

## What it does
Finds `~` before a value that draws nothing: a number, a list, an expression without a draw.

## Why is this bad
The file can't be applied: `~` draws at random, `=` sets a value.

## Example
```init
Linear.bias ~ 0
```

## Use instead
```init
Linear.bias = 0
```
"""

from __future__ import annotations

from collections.abc import Iterator

from initdsl.initializers import default_registry
from initdsl.initializers.elsewhere import meant_initializer
from initdsl.language.syntax.nodes import Assign, Name
from initdsl.language.syntax.walk import walk
from initdsl.linter.definition import lint
from initdsl.linter.file import File
from initdsl.linter.fixes import replacement
from initdsl.linter.values import calls_of
from initdsl.text.diagnostic import Diagnostic


@lint(severity="error")
def check(file: File) -> Iterator[Diagnostic]:
    for placed in file.statements:
        rule = placed.rule
        if not isinstance(rule, Assign) or rule.operator != "~" or calls_of(rule.value):
            continue
        names = [node.name for node in walk(rule.value) if isinstance(node, Name)]
        if not any(placed.lookup(name) for name in names):  # a `let` may hold a draw
            hint, fix = "a value is set with `=`", replacement(rule.operator_span, "=", "write `=`", safe=True)
            meant = meant_initializer(rule.value.name, [*default_registry()]) if isinstance(rule.value, Name) else None
            if meant is not None:
                hint = f"a call has parentheses: `{meant}()`"
                fix = replacement(rule.value, f"{meant}()", f"write `{meant}()`", safe=False)
            yield file.finding(rule.operator_span, "`~` draws at random, and this does not draw", hint, fix)
