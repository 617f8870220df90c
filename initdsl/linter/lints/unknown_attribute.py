"""A condition on an attribute that is not there.

## What it does
Finds predicates of class patterns and parameters that name no attribute of what they are asked of.

## Why is this bad
The condition would hold for nothing, silently.

## Network
```python
net = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2))
```

## Example
```init
keep net
Linear(out_fetures=8).weight ~ normal(0, 0.02)
```

## Use instead
```init
keep net
Linear(out_features=8).weight ~ normal(0, 0.02)
```
"""

from __future__ import annotations

from initdsl.linter.definition import by_resolver

check = by_resolver("error")
