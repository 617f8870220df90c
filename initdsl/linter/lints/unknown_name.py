"""A name in an expression that means nothing.

## What it does
Finds names that are neither bound, nor a `let`, nor a fact of the target, nor an attribute of its module.

## Why is this bad
The rule has no value. With a model at hand the linter knows which attributes there are.

## Network
```python
net = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2))
```

## Example
```init
keep net
Linear.weight ~ normal(0, 1 / sqrt(in_feature))
```

## Use instead
```init
keep net
Linear.weight ~ normal(0, 1 / sqrt(in_features))
```
"""

from __future__ import annotations

from initdsl.linter.definition import by_resolver

check = by_resolver("error")
