"""A rule that writes over what another one gives, in memory that two parameters share.

## What it does
Finds parameters that are two objects on the same memory, wholly or in part, and rules that don't say the same of both.
Where both are to have the same values, or don't overlap, nothing is said. It needs the model itself: a manifest says
nothing of memory.

## Why is this bad
The rule that is carried out last decides, and the other one does nothing, though reports list both.

## Network
```python
net = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
net[1].weight = nn.Parameter(net[0].weight.data)
```

## Example
```init
net[0].weight ~ normal(0, 0.02)
net[1].weight = 0
```

## Use instead
```init
tie net[0].weight net[1].weight
net[0].weight ~ normal(0, 0.02)
```
"""

from __future__ import annotations

from initdsl.linter.definition import by_resolver

check = by_resolver("warning")
