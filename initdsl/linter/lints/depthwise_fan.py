"""A depthwise convolution drawn by its fan_out.

## What it does
Finds `mode=fan_out`, Xavier's initializers and formulas with `fan_out` on convolutions with groups: torch's fan_out counts
the output channels of all groups.

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

from initdsl.language.syntax.nodes import Assign, Call, Name
from initdsl.language.syntax.walk import walk
from initdsl.linter.definition import lint
from initdsl.linter.file import File
from initdsl.linter.plan_helpers import entries_of
from initdsl.text.diagnostic import Diagnostic

if TYPE_CHECKING:
    from initdsl.planning.plan import Plan


@lint(needs="network")
def check(file: File, plan: Plan) -> Iterator[Diagnostic]:
    seen = set()
    for entry, base in entries_of(file, plan):
        value = base.clause.rule.value if isinstance(base.clause.rule, Assign) else None
        if value is None or base.clause.number in seen or base.index is not None or base.view is not None:
            continue
        names = {node.name: node for node in walk(value) if isinstance(node, Name)}
        groups = plan.network.modules[base.match.module].attribute("groups")
        if isinstance(groups, int) and groups > 1 and "fan_out" in names and "groups" not in names:
            if isinstance(value, Call) and _is_mode(value, names["fan_out"]):
                continue  # the resolver knows what the initializer makes of it
            seen.add(base.clause.number)
            yield file.finding(
                names["fan_out"], f"`{entry.label}` has {groups} groups, and torch's fan_out counts the outputs of all of them",
                "`fan_out / groups` counts one",
            )  # fmt: skip


def _is_mode(call: Call, name: Name) -> bool:
    return any(argument.value is name for argument in call.arguments)
