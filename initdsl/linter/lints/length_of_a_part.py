"""The length of layers that are a part of the model.

## What it does
Finds `len(net.layers)`, and other counts, where the layers' integer keys don't start at 0, as in a stage of a pipeline.

## Why is this bad
The length counts the layers that are here. A scale by depth comes out as for a model of 8 layers on each of 4 stages,
not as for one of 32. `whole=` (`--whole`) says which the whole model is; a model that is no part of another is its own.

## Network
```python
net = nn.Module()
net.layers = nn.ModuleDict({str(i): nn.Linear(4, 4) for i in range(8, 16)})
```

## Example
```init
net.layers[*].weight ~ normal(0, 0.02 / sqrt(2 * len(net.layers)))
net.layers[*].bias   = 0
```

## Use instead
```init
let depth = 32
net.layers[*].weight ~ normal(0, 0.02 / sqrt(2 * depth))
net.layers[*].bias   = 0
```

## Source
torchtitan: pipeline stages keep the keys of the whole model, and the depth is read off the part.
"""

from __future__ import annotations

from initdsl.linter.definition import by_resolver

check = by_resolver("error")
