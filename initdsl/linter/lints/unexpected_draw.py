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

## Source
mmcv 1128: nobody can tell what was drawn and what was set.
"""

from __future__ import annotations

from collections.abc import Iterator

from initdsl.initializers import default_registry
from initdsl.language.syntax.nodes import Assign, Call
from initdsl.language.syntax.walk import walk
from initdsl.linter.definition import lint
from initdsl.linter.file import File
from initdsl.linter.values import is_function
from initdsl.text.diagnostic import Diagnostic


@lint(severity="error")
def check(file: File) -> Iterator[Diagnostic]:
    registry = default_registry()
    for placed in file.statements:
        rule = placed.rule
        if not isinstance(rule, Assign) or rule.operator != "=":
            continue
        calls = [node for node in walk(rule.value) if isinstance(node, Call) and not is_function(node.function)]
        if any(call.function in registry and registry[call.function].draws for call in calls):
            fix = file.replacement(rule.operator_span, "~", "write `~`", safe=True)
            yield file.finding(
                rule.operator_span, "`=` sets a value, and this draws at random", "a draw is written `~`", fix
            )
