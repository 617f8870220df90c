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

## Source
mmdetection 6663: an initialization that was set up and did nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from initdsl.language.syntax.nodes import Block
from initdsl.linter.definition import lint
from initdsl.linter.edits import removal
from initdsl.linter.file import File
from initdsl.text.diagnostic import Diagnostic, Fix


@lint()
def check(file: File) -> Iterator[Diagnostic]:
    for placed in file.blocks:
        rule = placed.rule
        if isinstance(rule, Block) and not rule.rules:
            commented = "#" in file.text(rule)
            fix = None if commented else Fix("delete it", (removal(file.source, rule.span),), safe=False)
            yield file.finding(rule.targets, "this block is empty", "write its rules, or delete it", fix)
