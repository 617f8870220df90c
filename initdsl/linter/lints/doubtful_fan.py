"""Fans that are known to be wrong for the layer.

## What it does
Finds initializers that read torch's fans where these are not the layer's and give another standard deviation: stacked experts read as a convolution,
transformers' `Conv1D`, transposed convolutions.

## Why is this bad
The standard deviation comes out wrong by the root of the ratio: for experts of shape (8, 192, 64), torch's fan_in is
12288, the true one 64.

## Network
```python
class Experts(nn.Module):
    def __init__(self):
        super().__init__()
        self.down = nn.Parameter(torch.zeros(4, 6, 3))

net = nn.Sequential(Experts())
```

## Example
```init
Experts.down ~ xavier_uniform()
```

## Use instead
```init
Experts.down[*] ~ xavier_uniform()
```

## Source
pytorch 23854, 30079, timm 84: wrong fans of transposed and depthwise convolutions.
"""

from __future__ import annotations

from initdsl.linter.definition import by_resolver

check = by_resolver("warning")
