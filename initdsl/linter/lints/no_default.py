"""A default that PyTorch doesn't have.

## What it does
Finds `default` for modules that have parameters of their own and no `reset_parameters`.

## Why is this bad
What their constructor wrote can't be brought back.

## Network
```python
class Scale(nn.Module):
    def __init__(self):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(4))

net = nn.Sequential(Scale())
```

## Example
```init
default Scale
```

## Use instead
```init
Scale.gamma = 1
```

## Source
torchtitan 2450: a parameter nobody initialized was garbage after `to_empty`.
"""

from __future__ import annotations

from initdsl.linter.definition import by_resolver

check = by_resolver("error")
