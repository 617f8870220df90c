"""A position among layers that are a part of the model.

## What it does
Finds positions in a list whose keys don't start at 0, as in `net[2:4]` of a Sequential, and slices by steps from the first
of such layers.

## Why is this bad
The first layer here is not the first of the model: on a stage of a pipeline the rule is about another layer than in one
process. `whole=` (`--whole`) says which the whole model is; a model that is no part of another is its own.

## Network
```python
net = nn.Module()
net.layers = nn.ModuleDict({str(i): nn.Linear(4, 4) for i in range(9, 16)})
```

## Example
```init
net.layers[*].weight   ~ normal(0, 0.02)
net.layers[::2].weight = 0
net.layers[*].bias     = 0
```

## Use instead
```init
net.layers[*].weight     ~ normal(0, 0.02)
net.layers[10::2].weight = 0
net.layers[*].bias       = 0
```

## Source
torch.nn.Sequential keeps the keys of what is sliced off it, and torch.distributed.pipelining those of the whole model.
"""

from __future__ import annotations

from initdsl.linter.definition import by_resolver

check = by_resolver("error")
