"""A block with nothing in it.

## What it does
Finds blocks without a statement.

## Why is this bad
The rules that were to stand there do not.

## Example
```init
net.head {
}
Linear.bias = 0
```

## Use instead
```init
Linear.bias = 0
```
"""

from __future__ import annotations

from collections.abc import Iterator

from initdsl.linter.definition import lint
from initdsl.linter.file import File
from initdsl.linter.fixes import removal
from initdsl.text.diagnostic import Diagnostic, Fix


@lint()
def check(file: File) -> Iterator[Diagnostic]:
    for _, block in file.blocks:
        if not block.rules:
            is_commented = "#" in file.text(block)
            fix = None if is_commented else Fix("delete it", (removal(file.source, block.span),), safe=False)
            yield file.finding(block.targets, "this block is empty", "write its rules, or delete it", fix)
