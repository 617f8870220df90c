"""A module where a parameter is needed.

## What it does
Finds `~`, `=` and edits of a module.

## Why is this bad
A module is not a tensor: which of its parameters are meant must be said. `net.head.*` are all of its own, `net.head.**`
those at any depth.

## Network
```python
net = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2))
```

## Example
```init
keep net
net[0] ~ normal(0, 0.02)
```

## Use instead
```init
keep net
net[0].* ~ normal(0, 0.02)
```

## Source
mmdetection 6432: a tensor passed where a module was expected did nothing, silently.
"""

from __future__ import annotations

from initdsl.linter.definition import by_resolver

check = by_resolver("error")
