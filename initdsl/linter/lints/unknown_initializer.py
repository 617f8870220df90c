"""A call of something that does not exist.

## What it does
Finds calls that name neither an initializer nor a function of the language.

## Why is this bad
The file can't be applied. Names that Python code registers belong into the setting `initializers`, so that files can be
checked without that code.

## Example
```init
Linear.weight ~ kaimin_normal()
```

## Use instead
```init
Linear.weight ~ kaiming_normal()
```
"""

from __future__ import annotations

from collections.abc import Iterator

from initdsl.initializers import default_registry
from initdsl.initializers.elsewhere import initializer_hint, meant_initializer
from initdsl.language.expressions.functions import FANS, FUNCTIONS
from initdsl.linter.definition import lint
from initdsl.linter.file import File
from initdsl.linter.fixes import replacement
from initdsl.text.diagnostic import Diagnostic

SPECIAL = ("len", "load")


@lint(severity="error")
def check(file: File) -> Iterator[Diagnostic]:
    names = {*default_registry(), *FUNCTIONS, *FANS, *SPECIAL, *file.initializers}
    for call in file.calls:
        if call.function in names:
            continue
        hint, fix = "`[tool.initdsl] initializers` names those that Python code registers, `--import` runs it", None
        near = meant_initializer(call.function, names)
        if near is not None:
            # with torch's underscore at the end it is surely that one
            is_same = near == call.function.rstrip("_")
            hint = f"did you mean `{near}`?"
            fix = replacement(call.name_span, near, f"write `{near}`", safe=is_same)
        else:
            hint = initializer_hint(call.function, names) or hint
        yield file.finding(call.name_span, f"no initializer is named `{call.function}`", hint, fix)
