"""An index that is a difference of two numbers.

## What it does
Finds `[0-2]` and the like: two numbers with a minus between them in an index.

## Why is this bad
`0-2` is -2, the last but one. A range of indices is a slice, whose end is left out: `[0:3]` for 0, 1 and 2.

## Example
```init
net.layers[0-2].weight = 0
```

## Use instead
```init
net.layers[0:3].weight = 0
```

## Source
Ranges with a dash, as regular expressions and many configs have them.
"""

from __future__ import annotations

from collections.abc import Iterator

from initdsl.language.syntax.nodes import Binary, Index, Number, Subscript
from initdsl.linter.definition import lint
from initdsl.linter.file import File
from initdsl.linter.fixes import replacement
from initdsl.text.diagnostic import Diagnostic


@lint()
def check(file: File) -> Iterator[Diagnostic]:
    for node in file.nodes:
        for item in node.items if isinstance(node, Index | Subscript) else ():
            if not isinstance(item, Binary) or item.operator != "-":
                continue
            first, last = item.left, item.right
            if (
                isinstance(first, Number)
                and isinstance(last, Number)
                and isinstance(last.value, int)
                and first.value < last.value
            ):
                text = f"{first.value}:{last.value + 1}"
                fix = replacement(item, text, f"write `{text}`", safe=False)
                yield file.finding(item, f"this is the index {first.value - last.value}", f"a range is `[{text}]`", fix)
