"""A slice bound divided with `/`.

## What it does
Finds `/` in the bounds of a slice or in an index.

## Why is this bad
`/` gives a float, also where nothing is left over, and an index must be an integer. `//` divides integers.

## Example
```init
LSTM.bias_ih_l0[hidden_size:4 * hidden_size / 2] = 1
```

## Use instead
```init
LSTM.bias_ih_l0[hidden_size:4 * hidden_size // 2] = 1
```

## Source
pytorch 166378, cleanrl 358: gates of a fused matrix that have to be sliced by hand.
"""

from __future__ import annotations

from collections.abc import Iterator

from initdsl.language.syntax.nodes import Binary, Index, Slice, Subscript
from initdsl.linter.definition import lint
from initdsl.linter.file import File
from initdsl.text.diagnostic import Diagnostic


@lint(severity="error")
def check(file: File) -> Iterator[Diagnostic]:
    for node in file.nodes:
        if not isinstance(node, Index | Subscript):
            continue
        for item in node.items:
            parts = (item.start, item.stop, item.step) if isinstance(item, Slice) else (item,)
            for part in parts:
                if isinstance(part, Binary) and part.operator == "/":
                    between = file.source.text[part.left.span.end : part.right.span.start]
                    at = part.left.span.end + between.find("/")
                    span = type(part.span)(at, at + 1)
                    fix = (
                        file.replacement(span, "//", "write `//`", safe=True)
                        if "/" in between and "#" not in between
                        else None
                    )
                    yield file.finding(part, "`/` gives a float, and an index is an integer", "divide with `//`", fix)
