"""A copy between parameters that don't fit.

## What it does
Finds `copy` statements with no, or more than one, source, and targets whose shape or names differ from the source's.

## Why is this bad
Nothing could be copied, or not what was meant.

## Network
```python
net = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 4), nn.Linear(4, 8))
```

## Example
```init
keep net
copy net[0].weight net[1].weight
```

## Use instead
```init
keep net
copy net[0].weight net[2].weight
```
"""

from __future__ import annotations

from initdsl.linter.definition import by_resolver

check = by_resolver("error")
