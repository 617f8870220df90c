"""Rules that read each other's results.

## What it does
Finds parameters whose rules read one another in a circle.

## Why is this bad
Another parameter is read at its final value, so each would have to wait for the other.

## Network
```python
net = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2))
```

## Example
```init
keep net
net[0].bias[0] = sum(net[1].bias)
net[1].bias[0] = sum(net[0].bias)
```

## Use instead
```init
keep net
net[0].bias[0] = sum(net[1].bias)
net[1].bias[0] = 1
```
"""

from __future__ import annotations

from initdsl.linter.definition import by_resolver

check = by_resolver("error")
