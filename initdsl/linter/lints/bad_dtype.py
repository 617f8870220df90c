"""A value that a parameter's dtype can't hold, or a dtype that can't be drawn.

## What it does
Finds draws into integer tensors, numbers that a tensor's dtype can't hold, what has no complex form, and quantized and
sparse tensors.

## Why is this bad
torch would cut the value off, or raise in the middle of the fill.

## Network
```python
net = nn.BatchNorm2d(4)
```

## Example
```init
keep net
net.num_batches_tracked = 0.5
```

## Use instead
```init
keep net
net.num_batches_tracked = 0
```

## Source
torch 2.13: `orthogonal_` fails on half types on the CPU, after other tensors were filled.
"""

from __future__ import annotations

from initdsl.linter.definition import by_resolver

check = by_resolver("error")
