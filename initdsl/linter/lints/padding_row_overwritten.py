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
pytorch 6495, fairseq 4076; and a tied head whose `Linear` rule stands below.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from initdsl.language.syntax.nodes import Assign, Name
from initdsl.language.syntax.walk import walk
from initdsl.linter.definition import lint
from initdsl.linter.file import File
from initdsl.linter.plan_helpers import entries_of
from initdsl.text.diagnostic import Diagnostic

if TYPE_CHECKING:
    from initdsl.planning.actions import Action
    from initdsl.planning.plan import Plan


@lint(needs="network")
def check(file: File, plan: Plan) -> Iterator[Diagnostic]:
    seen = set()
    for entry, base in entries_of(file, plan):
        if base.clause.number in seen or not _fills(base):
            continue
        owners = [
            plan.network.modules[i] for t in _group(plan, entry.tensor.index) for i, _ in plan.network.tensors[t].owners
        ]
        rows = {m.attribute("padding_idx") for m in owners if any("Embedding" in c.name for c in (m.cls, *m.cls.bases))}
        for row in rows:
            if isinstance(row, int) and not any(_covers_row(edit, row, entry.shape[0]) for edit in entry.edits):
                seen.add(base.clause.number)
                yield file.finding(
                    base.clause.targets, f"`{entry.label}` has its padding row {row} drawn over",
                    "add `Embedding.weight[padding_idx] = 0` below it",
                )  # fmt: skip
                break


def _fills(base: Action) -> bool:
    """Whether a rule fills every row alike with something other than 0."""
    rule = base.clause.rule
    if not isinstance(rule, Assign) or any(isinstance(n, Name) and n.name == "padding_idx" for n in walk(rule.value)):
        return False
    payload = base.payload
    if hasattr(payload, "value"):
        return payload.value != 0
    mean, std = getattr(payload, "mean", None), getattr(payload, "std", None)
    return rule.operator == "~" if mean is None or std is None else bool(mean or std)


def _group(plan: Plan, index: int) -> list[int]:
    return [index, *(i for i, canonical in plan.canonical.items() if canonical == index)]


def _covers_row(edit: object, row: int, size: int) -> bool:
    index = getattr(edit, "index", None)
    if not index or getattr(edit, "operator", "") != "=":
        return False
    first = index[0]
    if isinstance(first, int):
        return first % size == row % size
    return isinstance(first, slice) and row % size in range(*first.indices(size))
