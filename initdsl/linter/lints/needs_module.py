"""A parameter where a module is needed.

## What it does
Finds blocks, and selectors behind `in`, that select parameters.

## Why is this bad
A parameter has nothing inside it, so nothing of the block could ever run.

## Network
```python
net = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2))
```

## Example
```init
keep net
Linear.weight {
  .bias = 0
}
```

## Use instead
```init
keep net
Linear {
  .bias = 0
}
```

## Source
mmdetection 6432: a tensor passed where a module was expected did nothing, silently.
"""

from __future__ import annotations

from initdsl.linter.definition import by_resolver

check = by_resolver("error")
