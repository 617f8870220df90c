"""A dot in a regular expression that stands for any character.

## What it does
Finds dots between two words of a regular expression that are neither escaped nor repeated.

## Why is this bad
A bare dot matches any character: `attn.proj` matches `attn_proj` and `cross_attnXproj` as well. Names of parameters are
joined by dots, so `\\.` is nearly always what is meant.

## Example
```init
/attn.proj\\.weight$/ ~ normal(0, 0.02)
```

## Use instead
```init
/attn\\.proj\\.weight$/ ~ normal(0, 0.02)
```
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from initdsl.language.syntax.nodes import Regex
from initdsl.linter.definition import lint
from initdsl.linter.file import File
from initdsl.text.diagnostic import Diagnostic, Edit, Fix
from initdsl.text.source import Span

# an escape, a character class, or the dot in question
PART = r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|(?<=[\w\])])\.(?=[\w\[(])"


@lint()
def check(file: File) -> Iterator[Diagnostic]:
    for node in file.nodes:
        if not isinstance(node, Regex):
            continue
        offsets = [node.span.start + m.start() for m in re.finditer(PART, file.text(node)) if m[0] == "."]
        if offsets:
            edits = tuple(Edit(Span(offset, offset + 1), "\\.") for offset in offsets)
            yield file.finding(
                edits[0].span,
                "this dot matches any character",
                "a dot of a name is written `\\.`",
                Fix("escape it", edits, safe=False),
            )
