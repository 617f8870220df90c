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
from initdsl.linter.plan_helpers import base_rule
from initdsl.text.diagnostic import Diagnostic
from initdsl.text.wording import listed

if TYPE_CHECKING:
    from initdsl.network.description import Network
    from initdsl.network.parts import ModuleInfo
    from initdsl.planning.plan import Plan


@lint(needs="network")
def check(file: File, plan: Plan) -> Iterator[Diagnostic]:
    entries = {entry.tensor.index: entry for entry in plan.entries}
    for module in plan.network.modules:
        if not _is_stack_of_copies(plan.network, module):
            continue
        tensors = [
            tensor
            for index in plan.network.reachable(module.index)
            for tensor in plan.network.modules[index].parameters.values()
        ]
        matrices = [entries[tensor] for tensor in tensors if tensor in entries and entries[tensor].tensor.ndim >= 2]
        undrawn = [entry for entry in matrices if entry.status in ("kept", "uncovered")]
        if undrawn:
            rules = [rule for entry in undrawn if (rule := base_rule(entry)) is not None]
            place = next((rule.span for rule in rules if rule.source == file.source.name), file.first_line)
            labels = listed([entry.label for entry in undrawn], 2)
            yield file.finding(
                place,
                f"the layers of `{module.label}` are copies of one another, and no rule draws {labels}",
                "draw their matrices, as in `*.*weight(ndim>=2) ~ normal(0, 0.02)`",
            )
            return


def _is_stack_of_copies(network: Network, module: ModuleInfo) -> bool:
    cls = module.cls
    if cls.name not in ("TransformerEncoder", "TransformerDecoder") or not cls.qualname.startswith("torch."):
        return False
    # nn.Transformer draws its matrices again itself
    if any(network.modules[parent].cls.name == "Transformer" for parent, _ in module.parents):
        return False
    return len(network.modules[module.children["layers"]].children) > 1
