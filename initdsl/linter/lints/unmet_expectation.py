"""An `expect` that does not hold.

## What it does
Finds `expect` statements that the plan already contradicts: shapes, ties, coverage, bounds of what is drawn.

## Why is this bad
It is what the file's author said must hold.

## Network
```python
net = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2))
```

## Example
```init
Linear.weight ~ normal(0, 0.02)
Linear.bias = 0
expect Linear.bias max > 0
```

## Use instead
```init
Linear.weight ~ normal(0, 0.02)
Linear.bias = 0
expect Linear.bias max = 0
```

## Source
mmcv 1128: a log by which developers see whether parameters were initialized as they had set them.
"""

from __future__ import annotations

from initdsl.linter.definition import by_resolver

check = by_resolver("error")
