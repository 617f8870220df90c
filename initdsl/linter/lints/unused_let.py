"""A `let` that nothing reads.

## What it does
Finds `let` names that no statement below them reads. A file of `let` statements alone is one that others use.

## Why is this bad
The number someone tunes there has no effect: the rules have another one.

## Example
```init
let std = 0.01
Linear.weight ~ normal(0, 0.02)
```

## Use instead
```init
Linear.weight ~ normal(0, 0.02)
```
"""

from __future__ import annotations

from collections.abc import Iterator

from initdsl.language.syntax.nodes import Let
from initdsl.linter.definition import lint
from initdsl.linter.file import File
from initdsl.linter.fixes import removal
from initdsl.linter.lets import unread_lets
from initdsl.text.diagnostic import Diagnostic, Fix


@lint()
def check(file: File) -> Iterator[Diagnostic]:
    if all(isinstance(placed.rule, Let) for placed in file.everything):
        return
    for _, let in unread_lets(file):
        if not let.name.startswith("_"):
            fix = Fix("delete it", (removal(file.source, let.span),), safe=False)
            yield file.finding(let.name_span, f"nothing reads `{let.name}`", "delete it, or use it", fix)
