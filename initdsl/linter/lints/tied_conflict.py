"""A tied tensor that two rules mean to fill.

## What it does
Finds tensors with several names (shared, or tied by a rule) for which a whole-tensor rule through one name is overruled by a
rule through another.

## Why is this bad
The tensor is filled once, by the last rule that selects any of its names: what the other layer was given is not what it gets.

## Network
```python
net = nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 10, bias=False))
net[1].weight = net[0].weight
```

## Example
```init
Embedding.weight ~ normal(0, 1)
Linear.weight ~ normal(0, 0.02)
```

## Use instead
```init
Linear.weight ~ normal(0, 0.02)
```

## Source
fastai 2090, torchtitan 2342, mup 55.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from initdsl.linter.definition import lint
from initdsl.linter.file import File
from initdsl.linter.plan_helpers import overruled_by_ties
from initdsl.text.diagnostic import Diagnostic

if TYPE_CHECKING:
    from initdsl.planning.plan import Plan


@lint(needs="network")
def check(file: File, plan: Plan) -> Iterator[Diagnostic]:
    for overruled in overruled_by_ties(file, plan):
        entry = overruled.entry
        yield file.finding(
            overruled.selector,
            f"`{entry.label}` is one tensor under {len(entry.names)} names, and a later rule fills it",
            f"leave out the rule for the name that gives way; {overruled.winner} wins",
        )
