"""An index that is not there, or is no index.

## What it does
Finds indices of parameters that are out of range or no integers, slices where whole parameters are needed, and `[*]`
that makes more pieces than a plan holds.

## Why is this bad
The rule can't be carried out on this model; usually a dimension, or a size, is another than its author thought.

## Network
```python
net = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2))
```

## Example
```init
keep net
net[0].weight[8] = 0
```

## Use instead
```init
keep net
net[0].weight[7] = 0
```
"""

from __future__ import annotations

from initdsl.linter.definition import by_resolver

check = by_resolver("error")
