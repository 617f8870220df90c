"""A computed weight that can't be written to.

## What it does
Finds rules for a parametrized weight whose parametrization has no `right_inverse`.

## Why is this bad
The weight is computed from another tensor, and nobody can say which value of that gives the wanted one.

## Network
```python
from torch.nn.utils import parametrize

class Doubled(nn.Module):
    def forward(self, x):
        return 2 * x

net = nn.Sequential(nn.Linear(4, 8))
parametrize.register_parametrization(net[0], "weight", Doubled())
```

## Example
```init
Linear.weight ~ normal(0, 0.02)
keep net[0].bias
```

## Use instead
```init
net[0].parametrizations.weight.original = 0.5
keep net[0].bias
```

## Source
pytorch 180968: initialization after `weight_norm` or `parametrize` does nothing.
"""

from __future__ import annotations

from initdsl.linter.definition import by_resolver

check = by_resolver("error")
