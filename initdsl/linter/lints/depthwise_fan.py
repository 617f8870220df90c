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

from initdsl.language.syntax.nodes import Assign, Call, Expr, Name
from initdsl.language.syntax.walk import walk
from initdsl.linter.definition import lint
from initdsl.linter.file import File
from initdsl.linter.plan_helpers import Fill, filling_rules
from initdsl.text.diagnostic import Diagnostic

if TYPE_CHECKING:
    from initdsl.planning.plan import Plan


@lint(needs="network")
def check(file: File, plan: Plan) -> Iterator[Diagnostic]:
    for planned in filling_rules(file, plan):
        fan_out = _fan_out(planned.rule.value) if isinstance(planned.rule, Assign) else None
        depthwise = next((fill for fill in planned.fills if fill.whole and _groups(fill) > 1), None)
        if fan_out is not None and depthwise is not None:
            yield file.finding(
                fan_out,
                f"`{depthwise.entry.label}` has {_groups(depthwise)} groups, and torch's fan_out counts the outputs of all of them",
                "`fan_out / groups` counts one",
            )


def _groups(fill: Fill) -> int:
    groups = fill.module.attribute("groups")
    return groups if isinstance(groups, int) else 1


def _fan_out(value: Expr) -> Name | None:
    """Return the last `fan_out` of a formula that says nothing of groups.

    None for an argument of its own (`mode=fan_out`): the resolver knows what the initializer makes of it.
    """
    names = {node.name: node for node in walk(value) if isinstance(node, Name)}
    fan_out = names.get("fan_out")
    is_mode = isinstance(value, Call) and any(argument.value is fan_out for argument in value.arguments)
    return None if "groups" in names or is_mode else fan_out
