"""A tie, or a copy, of something with itself.

## What it does
Finds `tie` and `copy` that name the same thing twice.

## Why is this bad
It does nothing; the second operand was to be another one.

## Example
```init
tie net.embed.weight net.embed.weight
```

## Use instead
```init
tie net.embed.weight net.head.weight
```
"""

from __future__ import annotations

from collections.abc import Iterator

from initdsl.language.syntax.nodes import Copy, Maybe, Path, Tie
from initdsl.linter.definition import lint
from initdsl.linter.file import File
from initdsl.text.diagnostic import Diagnostic


@lint()
def check(file: File) -> Iterator[Diagnostic]:
    for placed in file.statements:
        rule = placed.rule
        if not isinstance(rule, Tie | Copy):
            continue
        paths: list[Path] = []
        for operand in rule.operands:
            path = operand.selector if isinstance(operand, Maybe) else operand
            if not isinstance(path, Path):
                continue
            if path in paths:
                yield file.finding(operand, f"this stands in the `{rule.kind}` already", "name the other one")
            paths.append(path)
