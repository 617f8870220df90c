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

## Source
mmdetection 6432: a call that looked like an initialization and did nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from initdsl.language.syntax.nodes import Assign, Call
from initdsl.language.syntax.walk import walk
from initdsl.linter.definition import lint
from initdsl.linter.file import File
from initdsl.linter.values import is_function
from initdsl.text.diagnostic import Diagnostic


@lint(severity="error")
def check(file: File) -> Iterator[Diagnostic]:
    for placed in file.statements:
        rule = placed.rule
        if not isinstance(rule, Assign) or rule.operator != "~":
            continue
        nodes = list(walk(rule.value))
        names = [node.name for node in nodes if node.kind == "name"]
        calls = [node for node in nodes if isinstance(node, Call) and not is_function(node.function)]
        if not calls and not any(placed.lookup(name) for name in names):
            fix = file.replacement(rule.operator_span, "=", "write `=`", safe=True)
            yield file.finding(
                rule.operator_span, "`~` draws at random, and this does not draw", "a value is set with `=`", fix
            )
