"""A normalization layer whose scale is set to 0 everywhere.

## What it does
Finds rules that set the weight of every normalization layer of the network to 0.

## Why is this bad
A scale of 0 passes nothing on: the network's output does not depend on its input. Where the last norm of a residual block is
meant to start at 0, the rule reaches too far. (Norms that multiply by `1 + weight` start at 0 rightly, and are not found.)

## Network
```python
net = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8))
```

## Example
```init
Conv2d.weight ~ kaiming_normal()
BatchNorm2d.weight = 0
BatchNorm2d.bias = 0
```

## Use instead
```init
Conv2d.weight ~ kaiming_normal()
BatchNorm2d.weight = 1
BatchNorm2d.bias = 0
```

## Source
espnet 4555, 3706: a test for one dimension, meant for biases, zeroed every BatchNorm.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ...diagnostic import Diagnostic
from ..file import File
from ..frame import lint
from ..network import entries_of, is_norm

if TYPE_CHECKING:
    from ...plans import Plan


@lint(needs="network")
def check(file: File, plan: Plan) -> Iterator[Diagnostic]:
    zeroed: dict[int, list[object]] = {}
    alive = False
    for entry in plan.entries:
        module = plan.network.modules[entry.tensor.owners[0][0]]
        if entry.tensor.owners[0][1] != "weight" or not _scales(module):
            continue
        drawn = entry.distribution
        if drawn is None or drawn.mean != 0 or drawn.std != 0:
            alive = True
    for entry, base in entries_of(file, plan):
        module = plan.network.modules[entry.tensor.owners[0][0]]
        drawn = entry.distribution
        if (
            entry.tensor.owners[0][1] == "weight"
            and _scales(module)
            and drawn is not None
            and drawn.mean == drawn.std == 0
        ):
            zeroed.setdefault(base.clause.number, []).append(entry)
            if not alive and len(zeroed[base.clause.number]) == 1:
                yield file.finding(
                    base.clause.targets, f"the scale of every normalization layer is 0, `{entry.label}` first",
                    "a norm's weight starts at 1",
                )  # fmt: skip


TORCH_NORMS = (
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "SyncBatchNorm",
    "LayerNorm",
    "GroupNorm",
    "InstanceNorm2d",
    "RMSNorm",
)


def _scales(module: object) -> bool:
    classes = (module.cls, *module.cls.bases)  # type: ignore[attr-defined]
    return is_norm(module) and any(c.name in TORCH_NORMS and c.qualname.startswith("torch.") for c in classes)  # type: ignore[arg-type]
