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

## Source
transformers 47458: a name that matched nothing went unnoticed for years.
"""

from __future__ import annotations

from collections.abc import Iterator

from initdsl.initializers import default_registry
from initdsl.language.expressions.functions import FANS, FUNCTIONS
from initdsl.linter.definition import lint
from initdsl.linter.file import File
from initdsl.text.diagnostic import Diagnostic
from initdsl.text.wording import nearest

SPECIAL = ("len", "load")


@lint(severity="error")
def check(file: File) -> Iterator[Diagnostic]:
    known = {*default_registry(), *FUNCTIONS, *FANS, *SPECIAL, *file.initializers}
    for _, call in file.calls:
        name = call.function
        if name in known:
            continue
        bare = name.rstrip("_")
        longer = sorted(other for other in known if len(name) > 3 and other.startswith(name))
        near = bare if bare in known else next(iter(longer), None) or nearest(name, sorted(known))
        hint, fix = "`[tool.initdsl] initializers` names those that Python code registers", None
        if near:
            hint = f"did you mean `{near}`?"
            fix = file.replacement(call.name_span, near, f"write `{near}`", safe=bare in known)
        yield file.finding(call.name_span, f"no initializer is named `{name}`", hint, fix)
