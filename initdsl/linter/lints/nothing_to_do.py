"""A statement for modules that have nothing it could act on.

## What it does
Finds `keep`, `default`, `copy`, `tie`, `expect` and `= load(...)` of modules without parameters and persistent buffers, and
`default` of modules with buffers alone and no `reset_parameters`.

## Why is this bad
It does nothing: what was meant stands in another module, or in a buffer that state dicts leave out.

## Network
```python
class Rope(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("inv_freq", torch.ones(4), persistent=False)

net = nn.Sequential(Rope())
```

## Example
```init
keep Rope
```

## Use instead
```init
keep Rope.inv_freq
```

## Source
The `persistent` argument of `torch.nn.Module.register_buffer`: such buffers are in no state dict.
"""

from __future__ import annotations

from initdsl.linter.definition import by_resolver

check = by_resolver("error")
