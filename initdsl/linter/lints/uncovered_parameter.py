"""A parameter that no rule reaches.

## What it does
Finds parameters of the network that no rule of the file, nor of a file it uses, says anything about.

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
from initdsl.text.source import Span

if TYPE_CHECKING:
    from initdsl.planning.plan import Plan


@lint(needs="network")
def check(file: File, plan: Plan) -> Iterator[Diagnostic]:
    left = [*plan.uncovered, *plan.partial]
    if left:
        from initdsl.text.wording import listed

        count = "1 parameter" if len(left) == 1 else f"{len(left)} parameters"
        names = listed([entry.label for entry in left])
        end = len(file.source.line(1)) if file.source.text else 0
        yield file.finding(
            Span(0, end),
            f"no rule reaches the whole of {count}: {names}",
            "`keep` leaves a parameter as it is, and says so",
        )
