"""A `let` name that is declared again.

## What it does
Finds a `let` whose name is already one above it, in the same body or around it.

## Why is this bad
Rules above the second read the first, rules below the second; a reader sees one name. `--set` changes both.

## Example
```init
let std = 0.02
Linear.weight ~ normal(0, std)
let std = 0.01
Embedding.weight ~ normal(0, std)
```

## Use instead
```init
let std = 0.02
Linear.weight ~ normal(0, std)
let embedding_std = 0.01
Embedding.weight ~ normal(0, embedding_std)
```
"""

from __future__ import annotations

from collections.abc import Iterator

from initdsl.language.syntax.nodes import Let
from initdsl.linter.definition import lint
from initdsl.linter.file import File
from initdsl.text.diagnostic import Diagnostic, Label


@lint()
def check(file: File) -> Iterator[Diagnostic]:
    for placed in file.statements:
        rule = placed.rule
        above = placed.lookup(rule.name) if isinstance(rule, Let) else None
        if isinstance(rule, Let) and above is not None:
            source = file.sources.get(above.source, file.source)
            yield file.finding(
                rule.name_span,
                f"`{rule.name}` is declared already",
                "take another name",
                labels=(Label(source, above.name_span, "here"),),
            )
