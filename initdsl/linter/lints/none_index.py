"""An index that is `none`.

## What it does
Finds `[none]` as the index of a parameter.

## Why is this bad
In Python `weight[None]` is the whole weight, and `weight[None] = 0` sets all of it to zero. Here it selects nothing: the
rule does nothing at all.

## Example
```init
Embedding.weight[none] = 0
```

## Use instead
```init
Embedding.weight[padding_idx] = 0
```

## Source
fairseq 4076: `weight[None] = 0` set the whole embedding to zero.
"""

from __future__ import annotations

from collections.abc import Iterator

from initdsl.language.syntax.nodes import Index, Word
from initdsl.linter.definition import lint
from initdsl.linter.file import File
from initdsl.text.diagnostic import Diagnostic


@lint()
def check(file: File) -> Iterator[Diagnostic]:
    for node in file.nodes:
        for item in node.items if isinstance(node, Index) else ():
            if isinstance(item, Word) and item.word == "none":
                yield file.finding(
                    item, "an index that is `none` selects nothing", "name the row, as in `[padding_idx]`"
                )
