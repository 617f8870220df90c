"""The same rule twice.

## What it does
Finds a rule that stands in the file again, word for word.

## Why is this bad
One of the two was to be another one: a copied line of which the name was never changed.

## Example
```init
Linear.bias = 0
Conv2d.bias = 0
Linear.bias = 0
```

## Use instead
```init
Conv2d.bias = 0
Linear.bias = 0
```
"""

from __future__ import annotations

from collections.abc import Iterator

from initdsl.language.syntax.nodes import Assign
from initdsl.linter.definition import lint
from initdsl.linter.file import File
from initdsl.linter.fixes import removal
from initdsl.linter.statements import label
from initdsl.text.diagnostic import Diagnostic, Fix


@lint()
def check(file: File) -> Iterator[Diagnostic]:
    for replaced in file.replaced:
        if not replaced.same:
            continue
        earlier, later = replaced.earlier, replaced.later
        # a piece is drawn each time, also where the next one replaces it: without it torch draws other values
        is_drawn = earlier.on_top and isinstance(earlier.rule, Assign) and earlier.rule.operator == "~"
        deletion = Fix("delete the first", (removal(file.source, earlier.rule.span),), safe=not is_drawn)
        yield file.finding(
            earlier.rule,
            "this rule stands here twice",
            "delete one, or change what it selects",
            deletion if later.here else None,
            labels=(label(later, "again"),),
        )
