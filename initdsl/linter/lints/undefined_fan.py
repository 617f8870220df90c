"""A fan of a tensor that has none.

## What it does
Finds `fan_in`, `fan_out` and initializers that read them on tensors with fewer than two dimensions.

## Why is this bad
A vector has no fans, so there is no standard deviation to be had from them. The usual cause is a selector that takes in
biases or norms.

## Network
```python
net = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2))
```

## Example
```init
keep net
Linear.* ~ xavier_uniform()
```

## Use instead
```init
keep net
Linear.weight ~ xavier_uniform()
```
"""

from __future__ import annotations

from initdsl.linter.definition import by_resolver

check = by_resolver("error")
