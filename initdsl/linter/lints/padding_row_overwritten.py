"""A rule that draws over an embedding's padding row.

## What it does
Finds embeddings with a `padding_idx` whose weight a rule draws as a whole, with no later rule that sets the padding row
back to 0.

## Why is this bad
The row of the padding token is meant to be 0: torch's own reset sets it so, and training never moves it.

## Network
```python
net = nn.Sequential(nn.Embedding(10, 4, padding_idx=0), nn.Flatten(), nn.Linear(4, 2, bias=False))
```

## Example
```init
Embedding.weight ~ normal(0, 0.02)
Linear.weight ~ normal(0, 0.02)
```

## Use instead
```init
Embedding.weight ~ normal(0, 0.02)
Embedding.weight[padding_idx] = 0
Linear.weight ~ normal(0, 0.02)
```

## Source
pytorch 6495: the padding row is overwritten.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from initdsl.language.syntax.nodes import Assign, Name
from initdsl.language.syntax.walk import walk
from initdsl.linter.definition import lint
from initdsl.linter.file import File
from initdsl.linter.plan_helpers import Fill, FillingRule, filling_rules, owners, sets_row
from initdsl.text.diagnostic import Diagnostic

if TYPE_CHECKING:
    from initdsl.planning.plan import Plan


@lint(needs="network")
def check(file: File, plan: Plan) -> Iterator[Diagnostic]:
    for planned in filling_rules(file, plan):
        for fill in planned.fills:
            row = _overwritten_row(plan, planned, fill)
            if row is not None:
                yield file.finding(
                    planned.selector,
                    f"`{fill.entry.label}` has its padding row {row} drawn over",
                    "add `Embedding.weight[padding_idx] = 0` below it",
                )
                break


def _overwritten_row(plan: Plan, planned: FillingRule, fill: Fill) -> int | None:
    """Return the padding row that a rule fills like every other, with something else than 0, and that stays so."""
    if not _fills_every_row(planned, fill):
        return None
    for module in owners(plan, fill.entry):
        row = module.attribute("padding_idx")
        is_embedding = any("Embedding" in cls.name for cls in (module.cls, *module.cls.bases))
        if is_embedding and isinstance(row, int) and not sets_row(fill.entry, row):
            return row
    return None


def _fills_every_row(planned: FillingRule, fill: Fill) -> bool:
    """Tell whether a rule fills every row alike with something other than 0."""
    rule = planned.rule
    if not isinstance(rule, Assign) or any(isinstance(n, Name) and n.name == "padding_idx" for n in walk(rule.value)):
        return False
    if fill.distribution is None:
        return rule.operator == "~"
    return bool(fill.distribution.mean or fill.distribution.std)
