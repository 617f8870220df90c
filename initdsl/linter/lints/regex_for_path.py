"""A regular expression for what a path says.

## What it does
Finds regular expressions that match exactly one name: anchored at both ends, without any operator.

## Why is this bad
A path says the same, is checked step by step against the model, and is told what is near when it is wrong. A regular
expression that misses is told nothing but that it misses.

## Example
```init
/^encoder\\.proj\\.weight$/ ~ xavier_uniform()
```

## Use instead
```init
net.encoder.proj.weight ~ xavier_uniform()
```

## Source
Modalities 351: a regular expression missed `lm_head`, and torch's default was kept in silence.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from initdsl.language.syntax.nodes import Regex
from initdsl.linter.definition import lint
from initdsl.linter.file import File
from initdsl.linter.fixes import replacement
from initdsl.text.diagnostic import Diagnostic

LITERAL = r"\^(\w+(?:\\\.\w+)*)\$\Z"


@lint()
def check(file: File) -> Iterator[Diagnostic]:
    for node in file.nodes:
        match = re.match(LITERAL, node.pattern) if isinstance(node, Regex) else None
        if match is not None:
            steps = match[1].split("\\.")
            path = "net" + "".join(f'["{step}"]' if step[0].isdigit() else f".{step}" for step in steps)
            fix = replacement(node, path, f"write `{path}`", safe=False)
            yield file.finding(
                node, "this regular expression matches one name, which a path selects", f"write `{path}`", fix
            )
