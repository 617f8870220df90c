"""A suppression that names no lint.

## What it does
Finds suppressions with a name that no lint bears, without any name, and comments for this linter of another form.

## Why is this bad
It silences nothing, or would silence everything: findings are suppressed by name.

## Example
```init
Linear.bias = 0  # initdsl: ignore[shadowed-rules] the head is set below
```

## Use instead
```init
Linear.bias = 0
```

## Source
ruff's PGH004 and RUF102: blanket and misspelt suppressions.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from initdsl.linter.definition import lint
from initdsl.linter.file import File
from initdsl.text.diagnostic import Diagnostic
from initdsl.text.wording import did_you_mean

if TYPE_CHECKING:
    from initdsl.linter.suppressions import Suppressions


@lint(needs="suppressions")
def check(file: File, suppressions: Suppressions) -> Iterator[Diagnostic]:
    for suppression in suppressions.all:
        if suppression.form is None:
            hint = "write `# initdsl: ignore[name]` or `# initdsl: ignore-file[name]`"
            yield file.finding(suppression.span, "this is no suppression", hint)
            continue
        if not suppression.names:
            message = "a suppression names the lints it silences"
            yield file.finding(suppression.span, message, "as in `ignore[shadowed-rule]`")
        for named in suppression.names:
            if named.name not in suppressions.lints:
                hint = did_you_mean(named.name, suppressions.lints) or "`initdsl list lints` shows them"
                yield file.finding(named.span, f"no lint is named `{named.name}`", hint)
