"""A parameter that has no shape yet.

## What it does
Finds rules for parameters of lazy modules (`nn.LazyLinear`) that have not seen an input.

## Why is this bad
There is nothing to fill. One forward pass gives them their shapes; so does `sample=` of `initdsl.apply`.

## Network
```python
net = nn.Sequential(nn.LazyLinear(4))
```

## Example
```init
net[0].weight ~ normal(0, 0.02)
keep net[0].bias
```

## Use instead
```init
keep net
```

## Source
torch's documentation of `nn.LazyLinear`: an initialization before the first pass raises or is lost.
"""

from __future__ import annotations

from initdsl.linter.definition import by_resolver

check = by_resolver("error")
