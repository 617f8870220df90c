"""A tensor of the model that a file leaves to other rules.

## What it does
Finds tensors that a `load` selects and leaves alone. It is a note where the rule says so: `missing=skip`, `mismatch=skip`.

With notes alone `initdsl lint` exits with 0. Where no rule says so, the tensor is the batch count of a norm, which files of
old versions lack.

## Why is this bad
The values are those of another rule, or those that the model had before.

## Network
```python
net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8))
state = net.state_dict()
del state["1.num_batches_tracked"]
torch.save(state, "old.pth")
```

## Example
```init
net = load("old.pth")
```

## Use instead
```init
net = load("old.pth", missing=skip)
```
"""

from __future__ import annotations

from initdsl.linter.definition import by_resolver

check = by_resolver("warning")
