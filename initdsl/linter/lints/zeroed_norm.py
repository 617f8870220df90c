"""A normalization layer whose scale is set to 0 everywhere.

## What it does
Finds rules that set the weight of every normalization layer of the model to 0.

## Why is this bad
A scale of 0 passes nothing on: the model's output does not depend on its input. Where the last norm of a residual block is
meant to start at 0, the rule reaches too far. Norms that multiply by `1 + weight`, like Gemma's, start at 0 rightly; a weight
of -1 is what turns those off. Which a norm is, is asked of it: `lint --model` and `initdsl manifest` run its forward pass.

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

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from initdsl.linter.definition import lint
from initdsl.linter.file import File
from initdsl.linter.plan_helpers import filling_rules
from initdsl.text.diagnostic import Diagnostic

if TYPE_CHECKING:
    from initdsl.network.parts import ModuleInfo
    from initdsl.planning.plan import Plan, PlanEntry


# torch's own, which multiply by their weight: known without asking, so of a manifest that was written by hand too
TORCH = re.compile(r"torch\.nn\.modules\..*\.((Sync)?BatchNorm[123]?d?|InstanceNorm[123]d|(Layer|Group|RMS)Norm)")


@lint(needs="network")
def check(file: File, plan: Plan) -> Iterator[Diagnostic]:
    if not all(_is_silent(plan, entry) for entry in plan.entries if _is_scale(plan, entry)):
        return
    for planned in filling_rules(file, plan):
        scale = next((fill.entry for fill in planned.fills if _is_scale(plan, fill.entry)), None)
        if scale is not None:
            start = int(_silencing_weight(_owner(plan, scale)) or 0) + 1
            yield file.finding(
                planned.selector,
                f"the scale of every normalization layer is 0, `{scale.label}` first",
                f"this norm's weight starts at {start}",
            )


def _owner(plan: Plan, entry: PlanEntry) -> ModuleInfo:
    return plan.network.modules[entry.tensor.owners[0][0]]


def _is_scale(plan: Plan, entry: PlanEntry) -> bool:
    return entry.tensor.owners[0][1] == "weight" and _owner(plan, entry).is_norm


def _is_silent(plan: Plan, entry: PlanEntry) -> bool:
    values = entry.distribution
    return values is not None and values.std == 0 and values.mean == _silencing_weight(_owner(plan, entry))


def _silencing_weight(module: ModuleInfo) -> float | None:
    """Return the weight that lets nothing through a norm, where it is known: what it was asked, or what torch's are."""
    if module.silenced_at is not None:
        return module.silenced_at
    return 0.0 if TORCH.fullmatch(module.cls.qualname) else None
