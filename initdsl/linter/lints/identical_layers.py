"""Layers that are copies of each other, left as they were copied.

## What it does
Finds `nn.TransformerEncoder` and `nn.TransformerDecoder` with matrices that no rule draws.

## Why is this bad
They are built by deep copies of one layer: until something draws them again, all layers hold the same numbers.

## Network
```python
layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
net = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
```

## Example
```init
keep net
```

## Use instead
```init
*.*weight(ndim>=2) ~ xavier_uniform()
*.*weight(ndim=1) = 1
*.*bias = 0
MultiheadAttention.in_proj_weight as (3, embed_dim, -1)[*] ~ xavier_uniform()
```

## Source
pytorch 72253, 86274.
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
    network = plan.network
    by_index = {entry.tensor.index: entry for entry in plan.entries}
    for module in network.modules:
        if module.cls.name not in ("TransformerEncoder", "TransformerDecoder") or not module.cls.qualname.startswith(
            "torch."
        ):
            continue
        if any(network.modules[i].cls.name == "Transformer" for i, _ in module.parents):
            continue  # nn.Transformer draws its matrices again itself
        matrices = [
            by_index[t] for i in network.reachable(module.index) for t in network.modules[i].parameters.values()
            if t in by_index and by_index[t].tensor.ndim >= 2
        ]  # fmt: skip
        left = [entry for entry in matrices if entry.status in ("kept", "uncovered")]
        if left and len(network.modules[module.children["layers"]].children) > 1:
            clause = next(
                (e.base.clause for e in left if e.base and e.base.clause.rule.source == file.source.name), None
            )
            place = (
                clause.rule.span if clause is not None else Span(0, len(file.source.line(1)) if file.source.text else 0)
            )
            from initdsl.text.wording import listed

            yield file.finding(
                place, f"the layers of `{module.label}` are copies of one another, and no rule draws {listed([e.label for e in left], 2)}",
                "draw their matrices, as in `*.*weight(ndim>=2) ~ normal(0, 0.02)`",
            )  # fmt: skip
            return
