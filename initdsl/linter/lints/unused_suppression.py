"""A suppression that silences nothing.

## What it does
Finds `# initdsl: ignore[...]` and `ignore-file[...]` that name a lint which finds nothing there.

## Why is this bad
The mistake was mended, or has moved; the comment stays, and will silence the next one.

## Example
```init
Linear.bias = 0  # initdsl: ignore[shadowed-rule] the head is set below
```

## Use instead
```init
Linear.bias = 0
```

## Source
Comments of this kind outlive their reason in every linter: ruff's RUF100, mypy's `warn_unused_ignores`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from initdsl.linter.definition import lint
from initdsl.linter.file import File
from initdsl.text.diagnostic import Diagnostic, Edit, Fix
from initdsl.text.source import Span

if TYPE_CHECKING:
    from initdsl.linter.suppressions import Suppressions


@lint(needs="suppressions")
def check(file: File, suppressions: Suppressions) -> Iterator[Diagnostic]:
    looked_for = suppressions.enabled - {"unused-suppression", "unknown-lint"}
    for suppression in suppressions.all:
        if suppression.form is None:
            continue
        unused = [n for n in suppression.names if n.name in looked_for and n not in suppressions.used]
        is_idle = len(unused) == len(suppression.names)
        for named in unused:
            fix = Fix("delete the comment", (_without(file.source.text, suppression.span),)) if is_idle else None
            yield file.finding(named.span, f"no `{named.name}` is found here", "delete it", fix)


def _without(text: str, span: Span) -> Edit:
    """Return the edit that deletes a comment, with the line it has for itself."""
    start, end = span.start, text.find("\n", span.start)
    end = len(text) if end < 0 else end - text[:end].endswith("\r")
    while start and text[start - 1] in " \t":
        start -= 1
    if (start == 0 or text[start - 1] == "\n") and end < len(text):
        end = text.index("\n", end) + 1
    return Edit(Span(start, end), "")
