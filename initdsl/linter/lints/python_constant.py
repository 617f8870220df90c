"""A constant spelled as in Python.

## What it does
Finds `True`, `False` and `None` where a value stands.

## Why is this bad
The language spells them `true`, `false` and `none`; a capitalised word is a name, and there is none like it.

## Example
```init
Conv2d(padding_mode="zeros", bias=None).weight ~ kaiming_normal()
```

## Use instead
```init
Conv2d(padding_mode="zeros", bias=none).weight ~ kaiming_normal()
```
"""

from __future__ import annotations

from collections.abc import Iterator

from initdsl.language.syntax.nodes import Index, Let, Name
from initdsl.linter.definition import lint
from initdsl.linter.file import File
from initdsl.linter.fixes import replacement
from initdsl.text.diagnostic import Diagnostic

WORDS = {"True": "true", "False": "false", "None": "none"}


@lint(severity="error")
def check(file: File) -> Iterator[Diagnostic]:
    declared = {placed.rule.name for placed in file.everything if isinstance(placed.rule, Let)}
    # between brackets a name may be a bound index: then it is one wherever else it stands
    bound = {i.name for node in file.nodes if isinstance(node, Index) for i in node.items if isinstance(i, Name)}
    for node in file.nodes:
        if isinstance(node, Name) and node.name in WORDS and node.name not in declared:
            word = WORDS[node.name]
            fix = replacement(node, word, f"write `{word}`", safe=node.name not in bound)
            yield file.finding(node, f"`{node.name}` is no constant", f"write `{word}`", fix)
