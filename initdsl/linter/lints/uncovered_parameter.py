"""A parameter that no rule reaches.

## What it does
Finds parameters of the model that no rule of the file, nor of a file it uses, says anything about.

## Why is this bad
They start as their constructor left them, which nobody wrote down: a name test that matches nothing looks just like this.
`keep` says that it is meant.

## Network
```python
net = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2))
```

## Example
```init
Linear.weight ~ normal(0, 0.02)
```

## Use instead
```init
Linear.weight ~ normal(0, 0.02)
Linear.bias = 0
```

## Source
Modalities 351: a regular expression missed `lm_head`, and torch's default was kept without a word.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from initdsl.linter.definition import lint
from initdsl.linter.file import File
from initdsl.text.diagnostic import Diagnostic
from initdsl.text.wording import listed

if TYPE_CHECKING:
    from initdsl.planning.plan import Plan


@lint(needs="network")
def check(file: File, plan: Plan) -> Iterator[Diagnostic]:
    uncovered = [*plan.uncovered, *plan.partial]
    if uncovered:
        count = "1 parameter" if len(uncovered) == 1 else f"{len(uncovered)} parameters"
        yield file.finding(
            file.first_line,
            f"no rule reaches the whole of {count}: {listed([entry.label for entry in uncovered])}",
            "`keep` leaves a parameter as it is, and says so",
        )
