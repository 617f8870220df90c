"""A value or a view of another shape.

## What it does
Finds values, files and views (`as`) whose shape does not fit the parameter.

## Why is this bad
The rule can't be carried out on this model.

## Network
```python
net = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2))
```

## Example
```init
keep net
net[0].bias = [1, 2, 3]
```

## Use instead
```init
keep net
net[1].bias = [1, 2]
```
"""

from __future__ import annotations

from initdsl.linter.definition import by_resolver

check = by_resolver("error")
