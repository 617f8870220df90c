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
"""

from __future__ import annotations

from collections.abc import Iterator

from initdsl.language.syntax.nodes import Binary, Index, Slice, Subscript
from initdsl.linter.definition import lint
from initdsl.linter.file import File
from initdsl.linter.fixes import replacement
from initdsl.text.diagnostic import Diagnostic, Fix
from initdsl.text.source import Span


@lint(severity="error")
def check(file: File) -> Iterator[Diagnostic]:
    for node in file.nodes:
        for item in node.items if isinstance(node, Index | Subscript) else ():
            for bound in (item.start, item.stop, item.step) if isinstance(item, Slice) else (item,):
                if isinstance(bound, Binary) and bound.operator == "/":
                    fix = _floor_division(file.source.text, bound)
                    yield file.finding(bound, "`/` gives a float, and an index is an integer", "divide with `//`", fix)


def _floor_division(text: str, division: Binary) -> Fix | None:
    start = division.left.span.end
    between = text[start : division.right.span.start]
    if "/" not in between or "#" in between:
        return None
    slash = start + between.find("/")
    return replacement(Span(slash, slash + 1), "//", "write `//`", safe=True)
