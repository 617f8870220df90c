"""A draw over a parameter that is frozen.

## What it does
Finds rules that draw over parameters whose `requires_grad` is false, and says how many. A rule that asks for
`requires_grad` itself means them, and values that are set with `=` are none of its business.

## Why is this bad
What is frozen is not trained: mostly it is a pretrained backbone, and random numbers stay random numbers there.

## Network
```python
net = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2))
net[0].requires_grad_(False)
```

## Example
```init
Linear.weight ~ normal(0, 0.02)
Linear.bias   = 0
```

## Use instead
```init
Linear.weight(requires_grad) ~ normal(0, 0.02)
Linear.bias                  = 0
keep net[0].weight
```

## Source
mmengine 691, transformers 35141, 46620: loaded weights are drawn over.
"""

from __future__ import annotations

from initdsl.linter.definition import by_resolver

check = by_resolver("warning")
