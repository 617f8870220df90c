"""A parameter or buffer that a copy leaves behind.

## What it does
Finds what the source of a `copy` has and its target does not.

## Why is this bad
The target does not become what the source is, as when statistics of a batch norm are left.

## Network
```python
net = nn.Sequential(nn.BatchNorm1d(8), nn.LayerNorm(8))
```

## Example
```init
keep net
copy net[0] net[1]
```

## Use instead
```init
keep net
copy net[0].weight net[1].weight
copy net[0].bias net[1].bias
```
"""

from __future__ import annotations

from initdsl.linter.definition import by_resolver

check = by_resolver("warning")
