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

from initdsl.language.syntax.nodes import Assign, Tie
from initdsl.linter.definition import lint
from initdsl.linter.file import File
from initdsl.text.diagnostic import Diagnostic

if TYPE_CHECKING:
    from initdsl.planning.plan import Plan


@lint(needs="network")
def check(file: File, plan: Plan) -> Iterator[Diagnostic]:
    shared = {e.tensor.index: e for e in plan.entries if len(e.names) > 1 and e.base is not None}
    seen = set()
    for clause in plan.clauses:
        if (
            isinstance(clause.rule, Tie)
            or not isinstance(clause.rule, Assign)
            or clause.rule.source != file.source.name
        ):
            continue
        if clause.rule.operator not in ("=", "~") or clause.hits:
            continue
        selection = plan.resolver.selection(clause)
        for index in selection.by_tensor if selection is not None else ():
            entry = shared.get(index)
            if (
                entry is None
                or entry.base is None
                or entry.base.clause.number <= clause.number
                or clause.number in seen
                or _says_the_same(clause.rule, entry.base.clause.rule)
            ):
                continue
            mine = {m.module for m in selection.by_tensor[index]}
            if entry.base.match.module not in mine:
                seen.add(clause.number)
                yield file.finding(
                    clause.targets, f"`{entry.label}` is one tensor under {len(entry.names)} names, and a later rule fills it",
                    f"leave out the rule for the name that gives way; {plan.clause_place(entry.base.clause)} wins",
                )  # fmt: skip


def _says_the_same(one: Assign, other: object) -> bool:
    return isinstance(other, Assign) and (one.operator, one.value) == (other.operator, other.value)
