"""A depthwise convolution drawn by its fan_out.

## What it does
Finds `mode=fan_out` on convolutions with groups: torch's fan_out counts the output channels of all groups.

## Why is this bad
Each input channel feeds only the outputs of its own group, so the standard deviation comes out too small by the root of the
number of groups.

## Network
```python
net = nn.Sequential(nn.Conv2d(8, 8, 3, groups=8, bias=False), nn.Conv2d(8, 4, 1, bias=False))
```

## Example
```init
Conv2d.weight ~ kaiming_normal(mode=fan_out, nonlinearity=relu)
```

## Use instead
```init
Conv2d(groups=1).weight ~ kaiming_normal(mode=fan_out, nonlinearity=relu)
Conv2d(groups>1).weight ~ normal(0, sqrt(2 * groups / fan_out))
```

## Source
pytorch 23854, timm 84.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ...diagnostic import Diagnostic
from ...nodes import Assign, Call, Name, String
from ..file import File
from ..frame import lint
from ..network import entries_of

if TYPE_CHECKING:
    from ...plans import Plan


@lint(needs="network")
def check(file: File, plan: Plan) -> Iterator[Diagnostic]:
    seen = set()
    for entry, base in entries_of(file, plan):
        rule = base.clause.rule
        call = rule.value if isinstance(rule, Assign) else None
        if not isinstance(call, Call) or base.clause.number in seen:
            continue
        modes = [a.value for a in call.arguments if a.name == "mode" or a.name is None]
        if not any(
            "fan_out" in (m.name if isinstance(m, Name) else m.value) for m in modes if isinstance(m, Name | String)
        ):
            continue
        groups = plan.network.modules[base.match.module].attribute("groups")
        if isinstance(groups, int) and groups > 1:
            seen.add(base.clause.number)
            yield file.finding(
                call, f"`{entry.label}` has {groups} groups, and torch's fan_out counts the outputs of all of them",
                "give those with groups a rule of their own: `(groups>1)`, with `fan_out / groups`",
            )  # fmt: skip
