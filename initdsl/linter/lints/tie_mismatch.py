"""A tie of tensors that can't be one.

## What it does
Finds `tie` statements whose operands differ in shape, in dtype or in kind, or have not the same parameters.

## Why is this bad
A tied parameter is one tensor in several places. Where the shapes differ, one of the layers could not run.

## Network
```python
net = nn.Sequential(nn.Embedding(10, 4), nn.Linear(10, 4, bias=False), nn.Linear(4, 10, bias=False))
```

## Example
```init
keep net
tie net[0].weight net[1].weight
```

## Use instead
```init
keep net
tie net[0].weight net[2].weight
```
"""

from __future__ import annotations

from initdsl.linter.definition import by_resolver

check = by_resolver("error")
